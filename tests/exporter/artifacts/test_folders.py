"""A folder takes the place of another one; a reader finds the old one or the new one."""

import errno
from pathlib import Path

import pytest

from exporter.artifacts import folders
from exporter.artifacts.folders import replace_folder, restore_folders
from exporter.artifacts.store import staging
from exporter.errors import OutputError


def make_folder(path: Path, content: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(content)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for content in ("a", "b"):
        with staging(tmp_path) as stage:
            replace_folder(make_folder(stage / "model", content), tmp_path / "model")
        assert (tmp_path / "model" / "inner" / "file").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_where_folders_cannot_be_exchanged_one_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(folders, "exchange", refuse)
    test_a_folder_takes_the_place_of_another(tmp_path)


def test_an_error_of_the_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(folders, "exchange", refuse)
    make_folder(tmp_path / "model", "a")
    with pytest.raises(OutputError, match="Input/output error"), staging(tmp_path) as stage:
        replace_folder(make_folder(stage / "model", "b"), tmp_path / "model")
    assert (tmp_path / "model" / "inner" / "file").read_text() == "a"


def test_a_folder_that_cannot_be_published_leaves_the_old_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "a")
    with pytest.raises(OutputError):
        replace_folder(tmp_path / "nothing", tmp_path / "model")
    assert (tmp_path / "model" / "inner" / "file").read_text() == "a"
    restore_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
