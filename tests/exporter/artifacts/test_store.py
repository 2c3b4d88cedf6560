"""Files reach their folder whole or not at all, whatever kills the run."""

import errno
import os
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
from helpers.exported import NARROW
from helpers.publications import PUBLICATIONS, after_restart
from helpers.supervised import start

from exporter.artifacts import store
from exporter.artifacts.store import check_name, cleanup_staging, finish_or_discard, recover, staging
from exporter.errors import OutputError, UsageError
from exporter.requests import ExportRequest
from exporter.types import FormatName
from exporter.workflows.export import export
from models.temporary import PREFIX, temporary_name


def test_an_error_inside_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "c3d.onnx").write_text("old")
    with pytest.raises(RuntimeError, match="stop"), staging(tmp_path) as stage:
        (stage / "c3d.onnx").write_text("half")
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.onnx"]
    assert (tmp_path / "c3d.onnx").read_text() == "old"


def test_an_output_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write to .*out: Not a directory"), staging(tmp_path / "out"):
        pass


def test_staging_begins_with_what_a_killed_run_left_and_leaves_a_running_one_s(tmp_path: Path) -> None:
    with after_restart():
        left = tmp_path / temporary_name()
    left.mkdir()
    (left / "c3d.onnx").write_text("half")
    with staging(tmp_path) as running:
        (running / "c3d.onnx").write_text("mine")
        assert not left.exists()
        with staging(tmp_path) as other:
            recover(tmp_path)
            assert (running / "c3d.onnx").read_text() == "mine"
            assert other.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_ends_the_process_removes_what_it_has_staged(tmp_path: Path) -> None:
    with staging(tmp_path / "a") as first, staging(tmp_path / "b") as second:
        cleanup_staging()
        assert not first.exists()
        assert not second.exists()
        assert list(tmp_path.iterdir()) == []


def test_folders_are_removed_that_were_made_and_are_empty(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with staging(tmp_path / "there"), staging(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    with staging(tmp_path / "a" / "b") as stage:
        (stage.parent.parent / "kept").touch()
    assert [path.name for path in tmp_path.rglob("*")] in (["there", "a", "kept"], ["a", "there", "kept"])


def test_a_folder_that_another_run_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "recover", Path.rmdir)
    with staging(tmp_path / "new") as stage:
        (stage.parent / "kept").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kept"]


def test_what_cannot_be_finished_stays_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = tmp_path / temporary_name()
    stage.mkdir()
    with monkeypatch.context() as patch:
        for outcome in (mock.Mock(side_effect=OSError(errno.ENOSPC, "full")), mock.Mock(return_value=False)):
            patch.setattr(store, "finish", outcome)
            finish_or_discard(stage, tmp_path)
            assert stage.is_dir()
    finish_or_discard(stage, tmp_path)
    assert not stage.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"), staging(tmp_path):
        pass


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".", "../c3d", "", "a\\b", "-rf", ".hidden", "a\nb", "a\0b", "x" * 300, "\udcff"]
)
def test_names_that_are_not_plain_file_names(name: str) -> None:
    with pytest.raises(UsageError, match="plain file name"):
        check_name(name)


@pytest.mark.parametrize("name", ["c3d", "c3d-ucf101", "c3d v2.1", "C3D_é"])
def test_plain_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_disk_that_fills_while_a_model_is_written(kind: FormatName, tmp_path: Path) -> None:
    """A limit on file size simulates a full disk: every writer, torch's among them, gets an error half-way."""
    resource = pytest.importorskip("resource")  # Python ignores the signal that comes with the limit
    (tmp_path / "c3d.pt").write_text("an older artifact")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))
    try:
        with pytest.raises(OutputError, match="File too large; no partial file is left there") as caught:
            export(ExportRequest((kind,), model=NARROW, output_dir=tmp_path, verify=False))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.exit_code == 3
    assert [path.read_text() for path in tmp_path.iterdir()] == ["an older artifact"]


KILLED = """
from helpers.publications import PUBLICATIONS
from helpers.publishing_faults import at_call

def end(_name):
    {how}

with at_call({call}, end):
    PUBLICATIONS["two files with one name"].publish(Path("out"), "b")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a supervisor, and a signal to the worker at its end")
@pytest.mark.parametrize(
    ("call", "content"),
    [pytest.param(3, "a", id="staged", marks=pytest.mark.heavy), pytest.param(12, "b", id="begun")],
)
@pytest.mark.parametrize("killed", ["worker", "supervisor"])
def test_a_kill_of_the_worker_or_its_supervisor(killed: str, call: int, content: str, tmp_path: Path) -> None:
    """The supervisor finishes or removes what its worker has staged; without it the next run does."""
    out = tmp_path / "out"
    publication = PUBLICATIONS["two files with one name"]
    publication.publish(out, "a")
    how = f"os.kill(os.get{'p' * (killed == 'supervisor')}pid(), signal.SIGKILL); time.sleep(30)"
    process = start(KILLED.format(how=how, call=call), tmp_path, PYTHONPATH=os.pathsep.join(sys.path))
    process.communicate(timeout=60)
    assert process.returncode == (5 if killed == "worker" else -signal.SIGKILL)
    end = time.monotonic() + 20
    while killed == "supervisor":
        recover(out)  # the next run; the worker may end a little later than its supervisor
        is_recovered = publication.read(out) == content and not list(out.glob(f"{PREFIX}*"))
        if is_recovered or time.monotonic() > end:
            break
        time.sleep(0.02)
    assert publication.read(out) == content
    assert not list(out.glob(f"{PREFIX}*"))
