"""What is published, as a reader finds it: for the tests of power failures, kills, faults and runs at the same time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import onnx

from exporter.artifacts import folders
from exporter.artifacts.files import check_integrity, file_entry, manifest_path, read_manifest
from exporter.artifacts.folders import replace_folder
from exporter.artifacts.publication import publish
from exporter.artifacts.store import recover, staging
from exporter.errors import ArtifactError, IntegrityError
from exporter.inference.features.record import VideoRecord
from exporter.inference.features.stores import FileStore
from exporter.storage import publish_file
from helpers.manifests import MANIFEST
from helpers.power_loss import crash_states, record
from models import temporary
from models.paths import atomic_write

REFUSED = "refused"
NAME = "c3d.onnx"


@dataclass(frozen=True)
class Publication:
    """A way of publishing something with a content, and of reading it again.

    Attributes:
        publish: publishes a content of one letter in a folder.
        read: returns the content that a reader finds, None if there is nothing, or REFUSED.
        recover: what the next run does first.
        may_be_missing: whether there may be neither the old content nor the new one, which is then made again.
    """

    publish: Callable[[Path, str], None]
    read: Callable[[Path], str | None]
    recover: Callable[[Path], None] = recover
    may_be_missing: bool = False


def _artifact(*data: str) -> Publication:
    def publish_set(folder: Path, content: str) -> None:
        with staging(folder) as stage:
            files = [stage / NAME, *(stage / name.format(_hash(content)) for name in data)]
            for file in files:
                file.write_text(content * 9)
            entries = tuple(file_entry(file) for file in files)
            publish(
                stage, folder, replace(MANIFEST, name=content, options={"external_data": bool(data)}, files=entries)
            )

    return Publication(publish_set, read_artifact)


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def list_files(folder: Path) -> list[str]:
    """Return the files in a folder and its folders, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def list_clean(publication: Publication, folder: Path, contents: str) -> dict[str | None, list[str]]:
    """Return {content: the files that an undisturbed publication leaves, after one of another content}."""
    folder.mkdir()
    publication.publish(folder, "y")
    found: dict[str | None, list[str]] = {}
    for content in contents:
        publication.publish(folder, content)
        found[content] = list_files(folder)
    return found


def read_artifact(folder: Path) -> str | None:
    """Return what a reader of an artifact finds."""
    model = folder / NAME
    if not model.exists() and not manifest_path(model).exists():
        return None
    try:
        manifest = read_manifest(manifest_path(model))
        check_integrity(model, manifest)
    except (ArtifactError, IntegrityError):
        return REFUSED
    contents = {(folder / entry.path).read_text() for entry in manifest.files}
    assert contents == {manifest.name * 9}, "a mixed set"
    return manifest.name


def _publish_without_manifest(folder: Path, content: str) -> None:
    """As `optimize` does with a model of another tool: it names its data, and nothing has hashes."""
    from exporter.artifacts.loading import LoadedArtifact
    from exporter.workflows.optimization.files import publish_model

    with staging(folder) as stage:
        files = [stage / NAME, stage / f"{NAME}.{_hash(content)}.data"]
        files[0].write_bytes(referring_model([files[1].name], content))
        files[1].write_text(content * 9)
        publish_model(LoadedArtifact(files[0], "onnx", None, ()), stage, files, folder / NAME, None)


def referring_model(data: Sequence[str], content: str) -> bytes:
    """Return an ONNX model whose weights are nine bytes of each data file."""
    tensors = [onnx.TensorProto(name=f"w{i}", data_type=onnx.TensorProto.INT8, dims=[9]) for i in range(len(data))]
    for tensor, name in zip(tensors, data, strict=True):
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=name)
    node = onnx.helper.make_node("Identity", ["w0"], ["y"])
    return onnx.helper.make_model(onnx.helper.make_graph([node], content, [], [], tensors)).SerializeToString()


def _read_without_manifest(folder: Path) -> str | None:
    if not (folder / NAME).exists():
        return None
    model = onnx.load(folder / NAME, load_external_data=False)
    content = model.graph.name
    data = model.graph.initializer[0].external_data[0].value
    assert (folder / data).read_text() == 9 * content, "damaged or missing data"
    return content


def _publish_one(folder: Path, content: str) -> None:
    with staging(folder) as stage:
        (stage / NAME).write_text(content * 9)
        publish_file(stage / NAME, folder / NAME)


def _read_one(folder: Path) -> str | None:
    if not (folder / NAME).exists():
        return None
    content = (folder / NAME).read_text()
    assert content == 9 * content[:1] != "", "a damaged file"
    return content[0]


def _publish_folder(parent: Path, content: str) -> None:
    with staging(parent) as stage:
        (stage / "model" / "1").mkdir(parents=True)
        for name in ("1/model.onnx", "config.pbtxt"):
            (stage / "model" / name).write_text(content * 9)
        replace_folder(stage / "model", parent / "model")


def _read_folder(parent: Path) -> str | None:
    files = [parent / "model" / name for name in ("1/model.onnx", "config.pbtxt")]
    if not (parent / "model").exists():
        return None
    contents = {file.read_text() if file.exists() else "" for file in files}
    first = min(contents)
    assert contents == {9 * first[:1]} != {""}, "a mixed or damaged folder"
    return first[0]


def _publish_features(folder: Path, content: str) -> None:
    with staging(folder) as stage:
        files = [stage / "bikes.npy", stage / "bikes.csv"]
        for file in files:
            file.write_text(content * 9)
        record = VideoRecord("bikes.mp4", "bikes", 1, 1, 1, 1, notes=(content,))
        FileStore(str(folder)).publish(record, files)


def _read_features(folder: Path) -> str | None:
    """Return the content of a complete video; one that is incomplete is computed again."""
    record = FileStore(str(folder)).read().get("bikes")
    if record is None:
        return None
    contents = {(folder / name).read_text() for name in ("bikes.npy", "bikes.csv")}
    assert contents == {record.notes[0] * 9}, "mixed or damaged features"
    return record.notes[0]


@contextmanager
def _failing(place: object, name: str, code: int) -> Generator[None]:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    with mock.patch.object(place, name, refuse):
        yield


FILE_SYSTEMS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "usual": nullcontext,
    "without hard links": lambda: _failing(os, "link", errno.EPERM),
    "without exchange": lambda: _failing(folders, "exchange", errno.EINVAL),
    "without locks": lambda: _failing(fcntl, "flock", errno.ENOLCK),
}
"""{name: what the file system lacks, while the block runs}."""

PUBLICATIONS = {
    "one file and manifest": _artifact(),
    "two files, named for the content": _artifact(f"{NAME}.{{}}.data"),
    "two files with one name": _artifact("c3d.bin"),
    "two files without a manifest": Publication(_publish_without_manifest, _read_without_manifest),
    "one file": Publication(_publish_one, _read_one),
    "atomic_write": Publication(lambda folder, content: atomic_write(folder / NAME, 9 * content.encode()), _read_one),
    "folder": Publication(_publish_folder, _read_folder),
    "features": Publication(_publish_features, _read_features, may_be_missing=True),
}


@contextmanager
def after_restart() -> Generator[None]:
    """What the machine is after a power failure: started again."""
    with mock.patch.object(temporary, "_boot", return_value="restarted"):
        yield


def check_power_loss(
    publication: Publication,
    work: Path,
    file_system: str = "usual",
    *,
    at_once: int,
    new: bool = False,
    seed: int = 0,
) -> int:
    """Check each state after a power failure while content `b` replaces `a`; return the number of states.

    Before the next run a reader finds the old set or the new one, or refuses; after it one of them. Once the run has
    returned, only the new one.

    Args:
        publication: what is published.
        work: an empty folder.
        file_system: one of FILE_SYSTEMS.
        at_once: see `crash_states`.
        new: nothing is there before, not even the output folder.
        seed: see `crash_states`.
    """
    disk, copy = work / "disk", work / "copy"
    disk.mkdir()
    folder = Path("runs/out") if new else Path("out")
    old = None if new else "a"
    if not new:
        (disk / folder).mkdir()
        publication.publish(disk / folder, "a")
    with FILE_SYSTEMS[file_system](), record(disk) as recorder:
        publication.publish(disk / folder, "b")
    count = 0
    for crash in crash_states(recorder, at_once, seed):
        count += 1
        crash.write(recorder.root_number, copy)
        where = f"after {crash.after} of {len(recorder.events)} events, kept {crash.kept}, data {crash.data}"
        with after_restart(), FILE_SYSTEMS[file_system]():
            try:
                allowed = {old, "b", REFUSED, *([None] if publication.may_be_missing else [])}
                at_first = {None} if publication is PUBLICATIONS["folder"] and file_system != "usual" else set()
                assert publication.read(copy / folder) in allowed | at_first
                publication.recover(copy / folder)
                found = publication.read(copy / folder)
                assert found in allowed - {REFUSED}
                if found is None and publication.may_be_missing:
                    publication.publish(copy / folder, "b")
                    found = publication.read(copy / folder)
                assert found == "b" or crash.after < len(recorder.events), "lost after the run has returned"
                left = list((copy / folder).glob(".c3d-export-*")) if (copy / folder).exists() else []
                assert not left, f"left behind: {left}"
            except AssertionError as error:
                raise AssertionError(f"{error}; {where}") from error
        shutil.rmtree(copy)
    return count
