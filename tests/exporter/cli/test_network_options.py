from pathlib import Path

import click
import pytest

from exporter.cli.network_options import parse_key_map


def test_a_key_map_is_an_entry_or_a_file_of_entries(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# of the old code\nregressor=fc8\n\nblock1 = conv1  # first\n")
    assert parse_key_map("regressor=fc8") == ("regressor=fc8",)
    assert parse_key_map(str(tmp_path / "names.txt")) == ("regressor=fc8", "block1 = conv1")
    with pytest.raises(click.BadParameter, match="neither OLD=NEW nor a text file"):
        parse_key_map("regressor")
