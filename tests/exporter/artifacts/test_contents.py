"""The files that belong to a model file."""

from pathlib import Path

import pytest

from exporter.artifacts.contents import data_files
from exporter.types import FormatName


@pytest.mark.parametrize(("name", "files"), [("openvino", ["m.bin"]), ("torchscript", []), ("pt2", [])])
def test_the_files_with_its_weights(name: FormatName, files: list[str], tmp_path: Path) -> None:
    assert [path.name for path in data_files(tmp_path / "m.xml", name)] == files
