"""Files reach their folder whole or not at all, whatever kills the run."""

import errno
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.exported import NARROW
from helpers.manifests import MANIFEST, publish_content
from helpers.run import python

from exporter.artifacts.files import check_integrity, file_entry, read_manifest
from exporter.artifacts.store import (
    PREFIX,
    check_name,
    publish,
    recover,
    replace_folder,
    restore_folder,
    staging,
)
from exporter.errors import OutputError, UsageError
from exporter.types import ExportRequest, FormatName
from exporter.workflows.export import export

KILLED = """
import os, signal, sys
from pathlib import Path
from helpers.manifests import publish_content

def deadly(name, fatal, calls):
    real = getattr(os, name)
    def call(*args, **kwargs):
        calls.append(name)
        if len(calls) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, name, call)

DATA = "c3d.bin"  # one name for both: between two renames the folder holds a mixture
for number in range(1, 60):
    folder = Path(f"run{number}")
    publish_content(folder, "a", DATA)
    child = os.fork()
    if child == 0:
        calls = []
        for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
            deadly(name, number, calls)
        publish_content(folder, "b", DATA)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code)
    if code == 0:
        break
"""
"""Publishes in a process that is killed at its first call to the file system, in another at its second, and so on."""


def state(folder: Path) -> str | None:
    """What a reader finds: the content of an artifact that its manifest describes, or None where there is none."""
    model = folder / "c3d.onnx"
    if not model.exists():
        return None
    manifest = read_manifest(folder / "c3d.onnx.json")
    check_integrity(model, manifest)
    assert model.read_text() == manifest.name, "a mixture"
    return manifest.name


def test_a_kill_at_any_step_leaves_the_old_artifact_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    done = python(KILLED, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    *killed, last = map(int, done.stdout.split())
    assert ({*killed}, last) == ({-signal.SIGKILL}, 0)
    outcomes: list[str | None] = []
    for number in range(len(killed) + 1):
        folder = tmp_path / f"run{number + 1}"
        recover(folder)
        outcomes.append(state(folder))
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [], "left-over staging folders"
    assert outcomes[0] == "a"
    assert outcomes[-1] == "b"
    assert outcomes == sorted(outcomes, key=str), "the old one, then, from one step on, the new one"
    assert len(outcomes) > 8


def test_the_last_export_leaves_no_older_data(tmp_path: Path) -> None:
    for content in "ab":
        publish_content(tmp_path / "out", content)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "c3d.onnx",
        f"c3d.onnx.{'b' * 16}.data",
        "c3d.onnx.json",
    ]


def test_an_error_inside_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "c3d.onnx").write_text("old")
    with pytest.raises(RuntimeError, match="stop"), staging(tmp_path) as stage:
        (stage / "c3d.onnx").write_text("half")
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.onnx"]
    assert (tmp_path / "c3d.onnx").read_text() == "old"


def test_an_interrupt_between_the_model_and_its_manifest_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    publish_content(folder, "a")
    real = Path.replace
    moved: list[str] = []

    def interrupted(self: Path, target: Path) -> Path:
        moved.append(self.name)
        if self.name == "c3d.onnx.json" and moved.count(self.name) == 1:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), staging(folder) as stage:
        (stage / "c3d.onnx").write_text("b")
        publish(stage, folder, replace(MANIFEST, name="b", files=(file_entry(stage / "c3d.onnx"),)))
    assert state(folder) == "b"


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OutputError, match="No space left on device; nothing half-written is left"),
        staging(tmp_path / "out") as stage,
    ):
        (stage / "c3d.onnx").write_text("x")
        publish(stage, tmp_path / "out", replace(MANIFEST, files=(file_entry(stage / "c3d.onnx"),)))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write to .*out: File exists"), staging(tmp_path / "out"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"), staging(tmp_path):
        pass


def test_a_locked_staging_folder_is_kept_whatever_its_process_id(tmp_path: Path) -> None:
    """Two containers may share a host name and not their process numbers."""
    with staging(tmp_path) as stage:
        (stage / "c3d.onnx").write_text("being written")
        foreign = stage.rename(tmp_path / f"{PREFIX}{socket.gethostname()}-{2**22 - 1}-0")
        recover(tmp_path)
        assert (foreign / "c3d.onnx").read_text() == "being written"
    recover(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pid", ["99999999999999999999999", "x"])
def test_staging_folders_with_invalid_process_ids_are_ignored(pid: str, tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}{socket.gethostname()}-{pid}-0").mkdir()
    recover(tmp_path)


def test_the_staging_folder_of_a_running_process_is_kept_and_of_an_ended_one_removed(tmp_path: Path) -> None:
    running = tmp_path / f"{PREFIX}{socket.gethostname()}-{os.getpid()}-0"
    dead = tmp_path / f"{PREFIX}{socket.gethostname()}-{2**22 - 1}-0"
    foreign = tmp_path / f"{PREFIX}another.host-1-0"
    for folder in (running, dead, foreign):
        folder.mkdir()
    recover(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([running, foreign])


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
        with pytest.raises(OutputError, match="File too large; nothing half-written is left there") as caught:
            export(ExportRequest((kind,), model=NARROW, output_dir=tmp_path, verify=False))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.exit_code == 3
    assert [path.read_text() for path in tmp_path.iterdir()] == ["an older artifact"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK], ids=["marked by files instead", "no locks"])
def test_files_are_published_where_the_file_system_has_no_flock(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_flock(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    with staging(tmp_path) as stage:
        (stage / "c3d.onnx").write_bytes(b"model")
        publish(stage, tmp_path, replace(MANIFEST, files=(file_entry(stage / "c3d.onnx"),)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c3d.onnx", "c3d.onnx.json"]


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


REPLACED = """
import os, signal
from pathlib import Path
from exporter.artifacts.store import replace_folder, restore_folder

def make(path, content):
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(content)
    return path

DATA = "c3d.bin"  # one name for both: between two renames the folder holds a mixture
for number in range(1, 60):
    run = Path(f"run{number}")
    make(run / "model", "a")
    new = make(run / "stage" / "model", "b")
    child = os.fork()
    if child == 0:
        calls = []
        def deadly(name):
            real = getattr(os, name)
            def call(*args, **kwargs):
                calls.append(name)
                if len(calls) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)
            setattr(os, name, call)
        for name in ("fsync", "replace", "rename", "unlink", "rmdir"):
            deadly(name)
        replace_folder(new, run / "model")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    restore_folder(run / "model")
    left = sorted(path.name for path in run.iterdir())
    print(code, (run / "model" / "inner" / "file").read_text(), left == ["model", "stage"])
    if code == 0:
        break
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_kill_while_a_folder_is_replaced_leaves_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    done = python(REPLACED, cwd=tmp_path)
    assert done.stderr == ""
    runs = [line.split() for line in done.stdout.splitlines()]
    assert [code for code, _, _ in runs] == [f"-{signal.SIGKILL:d}"] * (len(runs) - 1) + ["0"]
    assert {content for _, content, _ in runs} == {"a", "b"}
    assert {whole for _, _, whole in runs} == {"True"}
    assert len(runs) > 5


def test_a_folder_that_cannot_be_published_leaves_the_old_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "a")
    with pytest.raises(OutputError):
        replace_folder(tmp_path / "nothing", tmp_path / "model")
    assert (tmp_path / "model" / "inner" / "file").read_text() == "a"
    restore_folder(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
