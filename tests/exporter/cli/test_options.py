"""Values of options that several commands share."""

from pathlib import Path

import click
import pytest

from exporter.cli.options import parse_feed, parse_key_map
from exporter.types import ValueRange


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ids=0..99", ("ids", ValueRange(0, 99))),
        ("scale=-0.5", ("scale", ValueRange(-0.5, -0.5))),
        ("x=1e-3..2", ("x", ValueRange(0.001, 2))),
        ("mask=some/mask.npy", ("mask", Path("some/mask.npy"))),
    ],
)
def test_what_an_input_is_given(text: str, parsed: tuple[str, ValueRange | Path]) -> None:
    assert parse_feed(text) == parsed


@pytest.mark.parametrize("text", ["ids", "=3", "ids=", "ids=9..0", "ids=word"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_feed(text)


def test_a_key_map_is_an_entry_or_a_file_of_entries(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# of the old code\nregressor=fc8\n\nblock1 = conv1  # first\n")
    assert parse_key_map("regressor=fc8") == ("regressor=fc8",)
    assert parse_key_map(str(tmp_path / "names.txt")) == ("regressor=fc8", "block1 = conv1")
    with pytest.raises(click.BadParameter, match="neither OLD=NEW nor a text file"):
        parse_key_map("regressor")
