"""Fields become Protocol Buffers' text format, whatever their texts hold."""

import pytest
from helpers.pbtxt import parse

from exporter.triton.text_format import Enum, Message, format_fields


def test_fields_of_every_type() -> None:
    inner = Message((("on", True), ("dims", (3, -1)), ("kind", Enum("KIND_CPU"))))
    text = format_fields(Message((("name", "c3d"), ("sizes", ()), ("size", -8), ("inner", inner), ("inner", inner))))
    assert text.splitlines()[:5] == ['name: "c3d"', "sizes: []", "size: -8", "inner {", "  on: true"]
    parsed = parse(text)
    assert parsed["name"] == ["c3d"]
    assert parsed["inner"] == [{"on": [True], "dims": [[3, -1]], "kind": ["KIND_CPU"]}] * 2


@pytest.mark.parametrize("text", ['a "b"', "back\\slash", "two\nlines", "tab\t", "bell\a", "a # b", "{ } : ,"])
def test_a_text_is_quoted_so_that_it_reads_back(text: str) -> None:
    assert parse(format_fields(Message((("t", text),)))) == {"t": [text]}


def test_what_is_printable_stays_and_what_is_not_becomes_its_bytes() -> None:
    assert format_fields(Message((("t", "Größe\u200b"),))) == 't: "Größe\\342\\200\\213"\n'
