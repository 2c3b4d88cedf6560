import os
from pathlib import Path

import click
import pytest

from exporter.cli.network_options import parse_input_size, parse_key_map


def test_a_key_map_is_an_entry_or_a_file_of_entries(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# of the old code\nregressor=fc8\n\nblock1 = conv1  # first\n")
    assert parse_key_map("regressor=fc8") == ("regressor=fc8",)
    assert parse_key_map(str(tmp_path / "names.txt")) == ("regressor=fc8", "block1 = conv1")
    with pytest.raises(click.BadParameter, match="neither OLD=NEW nor a text file"):
        parse_key_map("regressor")


@pytest.mark.parametrize(("text", "size"), [("3x16x112x112", (3, 16, 112, 112)), ("16X112X96", (16, 112, 96))])
def test_a_size_has_three_or_four_numbers(text: str, size: tuple[int, ...]) -> None:
    assert parse_input_size(text) == size


@pytest.mark.parametrize("text", ["112x112", "3x16xax112", "3*16*112", "1x3x16x112x112"])
def test_another_form_of_a_size_is_refused_with_both(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"3x16x112x112 \(CxTxHxW\) or 16x112x112 \(TxHxW\)"):
        parse_input_size(text)


def test_a_key_map_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "names")
    with pytest.raises(click.BadParameter, match="not a file"):
        parse_key_map(str(tmp_path / "names"))
