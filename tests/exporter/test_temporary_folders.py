"""Temporary files are this user's alone, and gone however the run ends."""

import errno
import os
import shutil
import signal
import stat
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.publications import after_restart
from helpers.supervised import ends, start

from exporter import full_disks
from exporter.errors import ArtifactError, OutputError
from exporter.temporary_folders import temporary_folder
from models.temporary import SCRATCH, remove_own_parts, temporary_name

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and modes")


def test_it_is_this_users_alone_and_is_removed(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "model.onnx").touch()
    assert [*tmp_path.iterdir()] == []


def test_an_error_does_not_name_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"^{tmp_path}/model.onnx: damaged$"), temporary_folder(tmp_path) as folder:
        raise ArtifactError(f"{folder}/model.onnx: damaged")


def test_what_killed_runs_left_is_removed_and_what_others_use_stays(tmp_path: Path) -> None:
    with after_restart():
        left = tmp_path / temporary_name(SCRATCH)
    left.mkdir()
    (left / "model.onnx").write_text("half")
    with temporary_folder(tmp_path) as first, temporary_folder(tmp_path) as second:
        assert {*tmp_path.iterdir()} == {first, second}


@pytest.mark.parametrize(
    ("number", "to_worker"), [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGKILL, True)]
)
def test_a_signal_removes_it(number: signal.Signals, to_worker: bool, tmp_path: Path) -> None:
    """As commands do, the worker imports nothing of artifacts; SIGKILL is that of a machine without memory."""
    body = """
    import exporter.cli.error_handling as commands
    from exporter.temporary_folders import temporary_folder
    for number in SIGNALS:
        signal.signal(number, commands._stop)
    with temporary_folder() as folder:
        (folder / 'model.onnx').write_text('half')
        print(os.getpid(), flush=True)
        time.sleep(60)
    """
    process = start(body, tmp_path, TMPDIR=str(tmp_path))
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    assert [path.name.endswith(SCRATCH) for path in tmp_path.iterdir()] == [True]
    if to_worker:
        os.kill(worker, number)
    else:
        process.send_signal(number)
    process.communicate(timeout=20)
    assert ends(worker)
    assert [*tmp_path.iterdir()] == []


def test_a_handler_of_signals_removes_it(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        (folder / "model.onnx").touch()
        remove_own_parts()
        assert not folder.exists()


def test_where_no_folder_for_temporary_files_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine with a single disk, which is full, `gettempdir` says that there is no such folder."""

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(full_disks, "gettempdir", none)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="^cannot write to .*none: No such file"), temporary_folder():
        pass

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(OutputError, match="^cannot write temporary files to .*none: No space"), temporary_folder():
        pass


def test_a_full_disk_is_seen_before_its_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(folder: Path) -> SimpleNamespace:  # full as long as a file is there
        return SimpleNamespace(total=10**9, used=0, free=0 if [*folder.rglob("model.onnx")] else 10**9)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OutputError, match="^cannot write temporary files to "), temporary_folder() as folder:
        (folder / "model.onnx").touch()
        raise RuntimeError("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf serialization failed.")
    assert not [*tmp_path.iterdir()]
