"""Fields of protocol buffers are counted over a whole file, before anything is made of them."""

import pytest

from models.protobuf_wire import MAX_NUMBERS, Field, WireError, WireReader

EMPTY = b"\x0a\x00"
"""Field 1, no bytes."""


def test_fields_of_all_messages_count_together() -> None:
    reader = WireReader(EMPTY * 6, limit=10)
    assert len(list(reader.fields(0, 12))) == 6
    assert len(list(reader.fields(0, 8))) == 4
    with pytest.raises(WireError, match="more than 10 fields"):
        list(reader.fields(0, 2))


def test_packed_numbers_are_counted() -> None:
    data = b"\x01" * (MAX_NUMBERS + 1)
    reader = WireReader(data)
    assert reader.packed(Field(1, 2, 0, MAX_NUMBERS, 0)) == [1] * MAX_NUMBERS
    with pytest.raises(WireError, match="more than 65,536 numbers"):
        reader.packed(Field(1, 2, 0, MAX_NUMBERS + 1, 0))


@pytest.mark.parametrize(
    "data", [b"\x0b", b"\x0a\x02a", b"\x02\x00", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_groups_cuts_and_field_0_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(WireReader(data).fields(0, len(data)))
