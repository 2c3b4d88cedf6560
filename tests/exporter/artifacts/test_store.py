"""Files reach their folder whole or not at all, whatever kills the run."""

import errno
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.manifests import MANIFEST
from helpers.run import python

from exporter.artifacts.manifest import check_integrity, file_entry, read_manifest
from exporter.artifacts.store import PREFIX, check_name, publish, recover, staging
from exporter.errors import OutputError, UsageError

PUBLISH = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from exporter.artifacts.manifest import Manifest, file_entry
from exporter.artifacts.store import publish, staging

folder, content, fatal = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0

def deadly(name):
    real = getattr(os, name)
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, name, call)

for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
    deadly(name)
template = Manifest.from_json(Path(sys.argv[4]).read_text())
with staging(folder) as stage:
    (stage / "c3d.onnx").write_text(content)
    files = [stage / "c3d.onnx"]
    data = stage / f"c3d.onnx.{content * 16}.data"
    data.write_text(content * 3)
    files.append(data)
    publish(stage, folder, replace(template, name=content, options={"external_data": True}, files=tuple(map(file_entry, files))))
"""


def state(folder: Path) -> str | None:
    """What a reader finds: the content of an artifact that its manifest describes, or None where there is none."""
    model = folder / "c3d.onnx"
    if not model.exists():
        return None
    manifest = read_manifest(folder / "c3d.onnx.json")
    check_integrity(model, manifest)
    assert model.read_text() == manifest.name, "a mixture"
    return manifest.name


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.json"
    path.write_text(MANIFEST.to_json())
    return path


def test_a_kill_at_any_step_leaves_the_old_artifact_or_the_new_one(tmp_path: Path, template: Path) -> None:
    outcomes: list[str | None] = []
    for fatal in range(1, 60):
        folder = tmp_path / f"run{fatal}"
        assert python(PUBLISH, folder, "a", 0, template, cwd=tmp_path).returncode == 0
        assert state(folder) == "a"
        code = python(PUBLISH, folder, "b", fatal, template, cwd=tmp_path).returncode
        assert code in (0, -signal.SIGKILL)
        recover(folder)
        outcomes.append(state(folder))
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [], "left-over staging folders"
        if code == 0:
            break
    assert outcomes[0] == "a"
    assert outcomes[-1] == "b"
    assert outcomes == sorted(outcomes, key=str), "the old one, then, from one step on, the new one"
    assert len(outcomes) > 8


def test_the_last_export_leaves_no_older_data(tmp_path: Path, template: Path) -> None:
    for content in "ab":
        assert python(PUBLISH, tmp_path / "out", content, 0, template, cwd=tmp_path).returncode == 0
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: Path
) -> None:
    folder = tmp_path / "out"
    assert python(PUBLISH, folder, "a", 0, template, cwd=tmp_path).returncode == 0
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
def test_a_disk_that_fills_while_a_model_is_written(kind: str, tmp_path: Path) -> None:
    """A limit on file size simulates a full disk: every writer, torch's among them, gets an error half-way."""
    code = (
        "import resource, signal, sys; from exporter.cli.main import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**8, 10**8));"
        f"sys.argv = ['c3d-export', '--format', '{kind}', '--no-verify']; main()"
    )
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "c3d.pt").write_text("an older artifact")
    done = python(code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "Error: cannot write to artifacts: File too large; nothing half-written is left there\n"
    assert [path.read_text() for path in (tmp_path / "artifacts").iterdir()] == ["an older artifact"]


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
