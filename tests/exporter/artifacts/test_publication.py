"""An artifact's files appear together: a reader finds the old set or the new one, never a mixture."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.manifests import MANIFEST, publish_content
from helpers.publications import PUBLICATIONS, check_power_loss, list_files, referring_model
from helpers.publishing_faults import fail_at_each_call
from helpers.run import python

from exporter.artifacts import publication
from exporter.artifacts.files import check_integrity, file_entry, read_manifest
from exporter.artifacts.publication import publish
from exporter.artifacts.store import staging
from exporter.errors import OutputError

ENDED = """
import json, sys, tempfile
from pathlib import Path
from helpers.publications import PUBLICATIONS
from helpers.publishing_faults import kill_at_each_call
from helpers.publishing_races import race

def folder():
    return Path(tempfile.mkdtemp(dir="."))

for name in ("two files, named for the content", "two files without a manifest", "folder"):
    print(json.dumps(["kill", vars(kill_at_each_call(PUBLICATIONS[name], folder()))]))
for name in ("two files with one name", "two files, named for the content"):
    for locks in (True, False):
        print(json.dumps(["race", vars(race(PUBLICATIONS[name], folder(), rounds=2, locks=locks))]))
"""
"""Processes that are killed, and that publish at the same time: in a process of its own, which may fork."""


def state(folder: Path) -> str | None:
    """What a reader finds: the content of an artifact that its manifest describes, or None where there is none."""
    model = folder / "c3d.onnx"
    if not model.exists():
        return None
    manifest = read_manifest(folder / "c3d.onnx.json")
    check_integrity(model, manifest)
    assert model.read_text() == manifest.name, "a mixture"
    return manifest.name


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What became of processes that were killed, and of processes that published at the same time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        done = python(ENDED, cwd=tmp_path_factory.mktemp("ended"))
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, list[dict[str, Any]]] = {"kill": [], "race": []}
    for line in done.stdout.splitlines():
        what, result = json.loads(line)
        found[what].append(result)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_kill_at_any_call_leaves_the_old_content_or_the_new_one(ended: dict[str, list[dict[str, Any]]]) -> None:
    assert [faults["damaged"] for faults in ended["kill"]] == [[], [], []]
    assert all(faults["found"].keys() == {"a", "b"} for faults in ended["kill"])
    assert [faults["calls"] > least for faults, least in zip(ended["kill"], (15, 15, 10), strict=True)] == [True] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_eight_runs_into_one_folder_leave_one_complete_set_with_and_without_locks(
    ended: dict[str, list[dict[str, Any]]],
) -> None:
    for races in ended["race"]:
        assert (races["mixed"], races["left"]) == (0, 0)
        assert races["outcomes"] == {"complete": 2 * 8}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at files through /proc")
@pytest.mark.parametrize(
    ("name", "file_system", "new"),
    [
        *((name, "usual", False) for name in PUBLICATIONS),
        ("two files with one name", "usual", True),
        ("two files with one name", "without hard links", False),
        ("folder", "without exchange", False),
    ],
)
def test_a_power_failure_leaves_the_old_content_or_the_new_one(
    name: str,
    file_system: str,
    new: bool,
    tmp_path: Path,
) -> None:
    """At any moment, whatever the disk has kept of the changes that were not synced."""
    assert check_power_loss(PUBLICATIONS[name], tmp_path, file_system, at_once=8, new=new) > 5


@pytest.mark.parametrize("name", ["two files with one name", "folder", "atomic_write"])
@pytest.mark.parametrize("repeat", [False, True])
def test_a_full_disk_at_any_call_leaves_the_old_content_or_the_new_one(
    name: str,
    repeat: bool,
    tmp_path: Path,
) -> None:
    faults = fail_at_each_call(PUBLICATIONS[name], tmp_path, errno.ENOSPC, repeat=repeat)
    assert faults.damaged == []
    assert faults.found.keys() == {"a", "b"}


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="looks at files through /proc")
@pytest.mark.parametrize(
    ("name", "file_system"),
    [
        *((name, "usual") for name in PUBLICATIONS),
        *((name, "without hard links") for name in PUBLICATIONS if "manifest" in name or "files" in name),
        ("folder", "without exchange"),
        ("two files with one name", "without locks"),
    ],
)
def test_any_error_or_power_failure_on_any_file_system(name: str, file_system: str, tmp_path: Path) -> None:
    for code in (errno.EIO, errno.EROFS):
        assert fail_at_each_call(PUBLICATIONS[name], tmp_path, code, file_system).damaged == []
    assert check_power_loss(PUBLICATIONS[name], tmp_path, file_system, at_once=16) > 5


def test_the_last_export_leaves_no_older_data(tmp_path: Path) -> None:
    for content in "ab":
        publish_content(tmp_path / "out", content)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "c3d.onnx",
        f"c3d.onnx.{'b' * 16}.data",
        "c3d.onnx.json",
    ]


def test_a_folder_with_the_name_of_older_data_stays(tmp_path: Path) -> None:
    own = tmp_path / f"c3d.onnx.{'c' * 16}.data" / "own"
    own.parent.mkdir()
    own.write_text("own")
    for content in "ab":
        publish_content(tmp_path, content)
    assert own.read_text() == "own"
    assert not (tmp_path / f"c3d.onnx.{'a' * 16}.data").exists()


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


def test_an_interrupt_between_the_data_and_its_model_leaves_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    publish_content(folder, "a")
    before = sorted(path.name for path in folder.iterdir())
    real = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if target == folder / "c3d.onnx":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish_content(folder, "b")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert state(folder) == "a"


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OutputError, match=r"No space left on device.*; no partial file is left"),
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


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
def test_folders_with_odd_and_long_names(tmp_path: Path) -> None:
    folder = tmp_path / "\udcff\n é" / Path(*["x" * 255] * 12)
    publish_content(folder, "a")
    publish_content(folder, "b")
    assert state(folder) == "b"
    too_long = folder / Path(*["x" * 255] * 8)
    with pytest.raises(OutputError, match="File name too long"):
        publish_content(too_long, "a")


def test_where_other_runs_mix_their_files_in_again_and_again_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication._Publication, "is_in_place", lambda _self: False)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(publication, "MAX_PAUSE_S", 0)
    with pytest.raises(OutputError, match="other runs publish c3d.onnx there at the same time"):
        publish_content(tmp_path / "out", "a")


def test_without_locks_no_data_is_left_of_models_without_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run replaces the model, and ends, while this one moves what its model does not name aside."""
    without_manifest, folder, other = PUBLICATIONS["two files without a manifest"], tmp_path / "a", tmp_path / "b"
    without_manifest.publish(folder, "a")
    other.mkdir()
    without_manifest.publish(other, "b")
    find = publication.find_old_data

    def find_while_another_run_ends(model: Path, keep: Sequence[str] = ()) -> list[Path]:
        for path in other.iterdir():
            path.replace(folder / path.name)
        return find(model, keep)

    monkeypatch.setattr(publication, "find_old_data", find_while_another_run_ends)
    without_manifest.publish(folder, "c")
    assert without_manifest.read(folder) == "b"
    assert len(list_files(folder)) == 2


def test_a_model_that_names_data_elsewhere_moves_nothing_out_of_its_folder(tmp_path: Path) -> None:
    """The model in place is another tool's: `../x` would be found beside the staging folder, and renamed to its parent."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    names = ["../../mine.txt", "../c3d.onnx", str(folder / "mine.txt"), "c3d.onnx.0123456789abcdef.data"]
    (folder / "c3d.onnx").write_bytes(referring_model(names, "hostile"))
    with staging(folder) as stage:
        (stage / publication.OLD_DATA).mkdir()
        (stage / publication.OLD_DATA / names[-1]).write_text("data")
        (stage / "c3d.onnx").write_text("staged")
        entries = (file_entry(stage / "c3d.onnx"),)
        publication._Publication(stage, folder, entries, has_manifest=False).bring_back()  # pyright: ignore
        assert list_files(stage) == ["c3d.onnx"]
    assert list_files(tmp_path) == ["out/c3d.onnx", f"out/{names[-1]}", "out/mine.txt"]
