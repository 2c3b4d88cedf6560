"""Values of options that several commands share."""

from pathlib import Path

import click
import pytest

from exporter.cli.options import parse_feed
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
