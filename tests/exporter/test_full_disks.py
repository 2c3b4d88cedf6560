import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter.errors import ArtifactError, OutputError, UsageError
from exporter.full_disks import full_disk_error, is_full, translate_full_disk
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
