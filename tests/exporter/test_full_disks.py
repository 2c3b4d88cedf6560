import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter import full_disks
from exporter.errors import ArtifactError, OutputError, UsageError
from exporter.full_disks import full_disk_error, is_full, temporary_folder, translate_full_disk
from models.temporary import temporary_name

SERIALISER = "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf serialization failed."


def fill(patch: pytest.MonkeyPatch, *full: Path, free: int = 4096) -> None:
    """Let the disks of these folders, and of what is in them, have `free` bytes left, and every other one much."""

    def usage(folder: Path) -> SimpleNamespace:
        inside = any(folder.is_relative_to(each) for each in full)
        return SimpleNamespace(total=10**9, used=0, free=free if inside else 10**9)

    patch.setattr(shutil, "disk_usage", usage)


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        caused_by(RuntimeError("cannot save"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        caused_by(
            UsageError("AOTInductor cannot compile"), RuntimeError("ld: final link failed: No space left on device")
        ),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_errors_that_say_it(error: Exception, tmp_path: Path) -> None:
    found = full_disk_error(error, tmp_path)
    assert found is not None
    assert found.exit_code == 3
    assert str(found).startswith(f"cannot write to {tmp_path}: No space left on device (")


def test_an_error_without_a_reason_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = RuntimeError(SERIALISER)
    assert full_disk_error(failed, tmp_path) is None
    fill(monkeypatch, tmp_path, free=12_300)
    assert str(full_disk_error(failed, tmp_path)) == (
        f"cannot write to {tmp_path}: No space left on device (12.3 kB free of 1,000.0 MB in all) (RuntimeError: {SERIALISER})"
    )


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a defect"),
        KeyError("a defect"),
        MemoryError(),
        FileNotFoundError(errno.ENOENT, "No such file"),
        ArtifactError("No space left on device.onnx: not ONNX"),  # our own text holds names
        OutputError("a more precise message"),
    ],
)
def test_other_errors_on_a_full_disk(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, tmp_path)
    assert full_disk_error(error, tmp_path) is None
    with pytest.raises(type(error)) as raised, translate_full_disk(tmp_path):
        raise error
    assert raised.value is error


def test_the_disk_of_temporary_files_is_the_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary, output = tmp_path / "temporary", tmp_path / "output"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    fill(monkeypatch, temporary)
    error = full_disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), output)
    assert str(error).startswith(
        f"cannot write temporary files to {temporary}: No space left on device (4.1 kB free of "
    )
    assert "TMPDIR" in str(error)


def test_where_no_folder_for_temporary_files_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine with a single disk, which is full, `gettempdir` says that there is no such folder."""

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(full_disks, "gettempdir", none)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(FileNotFoundError), temporary_folder():
        pass
    fill(monkeypatch, tmp_path)
    with pytest.raises(OutputError, match=f"^cannot write temporary files to {tmp_path}: No space"), temporary_folder():
        pass


def test_a_hidden_folder_is_not_named_and_a_small_disk_need_not_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / temporary_name() / "model"
    found = full_disk_error(OSError(errno.ENOSPC, "full"), hidden)
    assert str(found).startswith(f"cannot write to {tmp_path}: ")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=80_000, used=0, free=60_000))
    assert not is_full(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=80_000, used=0, free=4_000))
    assert is_full(tmp_path)


def test_a_full_disk_is_seen_before_its_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(folder: Path) -> SimpleNamespace:  # full as long as a file is there
        return SimpleNamespace(total=10**9, used=0, free=0 if [*folder.glob("*/model.onnx")] else 10**9)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OutputError, match="^cannot write temporary files to "), temporary_folder() as folder:
        (folder / "model.onnx").touch()
        raise RuntimeError(SERIALISER)
    assert not [*tmp_path.iterdir()]
