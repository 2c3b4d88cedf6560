"""An artifact's files appear together: a reader finds the old set or the new one, never a mixture."""

import errno
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.manifests import MANIFEST, publish_content
from helpers.run import python

from exporter.artifacts.files import check_integrity, file_entry, read_manifest
from exporter.artifacts.publication import publish
from exporter.artifacts.store import recover, staging
from exporter.errors import OutputError

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
for number in range(1, 99):
    folder = Path(f"run{number}")
    publish_content(folder, "a", DATA)
    child = os.fork()
    if child == 0:
        calls = []
        for name in ("fsync", "link", "replace", "rename", "unlink", "rmdir", "mkdir"):
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


def test_an_interrupt_between_the_model_and_its_manifest_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    publish_content(folder, "a")
    real = Path.replace
    moved: list[str] = []

    def interrupted(self: Path, target: Path) -> Path:
        moved.append(target.name)
        if target.name == "c3d.onnx.json" and moved.count(target.name) == 1:
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
