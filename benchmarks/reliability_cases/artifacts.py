"""Artifacts on disk: changed bytes, changed manifests, exchanged files."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from exporter.artifacts.files import MANIFEST_SUFFIX, read_manifest
from exporter.errors import ArtifactError, IntegrityError
from exporter.formats import load_artifact
from exporter.requests import ExportRequest
from exporter.types import FormatName, OptimizeOptions
from exporter.workflows.export import export
from models.options import BuildOptions
from reliability_cases.base import Row, Run
from reliability_cases.forked import run_cases

SMALL = BuildOptions(num_classes=5, base_channels=2, feature_dim=8, input_size=(3, 16, 48, 48))
LONG = 10_000
FORMATS: tuple[FormatName, ...] = ("onnx", "torchscript")
TEXTS = ("", "\ud800", "../../etc/passwd", "a\nb", "x" * 100_000, "0" * 64)
VALUES = (None, True, -1, 0, 1 << 80, 1.5, float("inf"), *TEXTS, [], {}, [[]])
"""What each field of a manifest is replaced by."""


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "artifacts"
    for name in ("a", "b"):
        _export(folder / name, seed=ord(name))
    yield _changed_bytes(run, folder)
    yield _changed_manifests(run, folder)
    yield _exchanged_files(folder)


def _export(folder: Path, seed: int) -> None:
    from dataclasses import replace

    request = ExportRequest(FORMATS, model=replace(SMALL, seed=seed), output_dir=folder, verify=False)
    export(replace(request, optimize=OptimizeOptions(), external_data=True))


def _models(folder: Path) -> list[Path]:
    return [path.with_suffix("") for path in sorted(folder.glob(f"*{MANIFEST_SUFFIX}"))]


class _Copy:
    """A copy of the artifacts of this process's own, in which one file at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "a"
        self.folder = folder / f"changed-{os.getpid()}"
        if not self.folder.exists():
            shutil.copytree(self.source, self.folder)

    def check(self, model: str) -> str:
        """Return what reading the artifact says: nothing, or the error's line."""
        try:
            load_artifact(self.folder / model)
        except (ArtifactError, IntegrityError) as error:
            return str(error)
        return ""

    def restore(self, name: str) -> None:
        """Bring a file back."""
        shutil.copyfile(self.source / name, self.folder / name)


def _changed_bytes(run: Run, folder: Path) -> Row:
    owners = {
        entry.path: model.name
        for model in _models(folder / "a")
        for entry in read_manifest(model.with_name(model.name + MANIFEST_SUFFIX)).files
    }
    names = sorted(owners)
    row = Row(
        "a changed byte of an artifact's files is found",
        f"{', '.join(names)}: a bit flipped, bytes overwritten, put in, taken out, the end cut off; load_artifact",
    )

    def work(number: int) -> tuple[str, str]:
        generator = random.Random(number)
        copy, name = _Copy(folder), names[number % len(names)]
        path = copy.folder / name
        original = path.read_bytes()
        changed = original
        while changed == original:
            changed = _mutate(original, generator)
        path.write_bytes(changed)
        found = copy.check(owners[name])
        copy.restore(name)
        return ("found", "") if found else ("not found", f"{name}: change {number} is not found")

    return run_cases(row, run.choose(1_000, LONG), work)


def _mutate(content: bytes, generator: random.Random) -> bytes:
    at, size = generator.randrange(len(content)), generator.randrange(1, 16)
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: content[:at] + bytes([content[at] ^ 1 << generator.randrange(8)]) + content[at + 1 :],
        lambda: content[:at] + generator.randbytes(size) + content[at + size :],
        lambda: content[:at] + bytes(size) + content[at:],
        lambda: content[:at] + content[at + size :],
        lambda: content[:at],
        lambda: content + bytes(size),
    )
    return generator.choices(changes, (6, 2, 1, 1, 1, 1))[0]()


def _changed_manifests(run: Run, folder: Path) -> Row:
    cases = [
        (model.name, path, value)
        for model in _models(folder / "a")
        for path in _paths(json.loads(model.with_name(model.name + MANIFEST_SUFFIX).read_bytes()))
        for value in VALUES
    ]
    if not run.long:
        cases = random.Random(5).sample(cases, min(500, len(cases)))
    row = Row(
        "a changed field of a manifest is refused, or is none that describes the model",
        f"each field of {len(_models(folder / 'a'))} manifests replaced by {len(VALUES)} values; load_artifact",
    )
    return run_cases(row, len(cases), lambda number: _try_field(folder, *cases[number]))


def _try_field(folder: Path, model: str, path: tuple[str | int, ...], value: object) -> tuple[str, str]:
    copy, name = _Copy(folder), f"{model}{MANIFEST_SUFFIX}"
    content: Any = json.loads((copy.source / name).read_bytes())
    _set(content, path, value)
    (copy.folder / name).write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")
    before, after = read_manifest(copy.source / name), None
    found = copy.check(model)
    if not found:
        after = read_manifest(copy.folder / name)
    copy.restore(name)
    if after is None:
        return "refused", ""
    if after == before:
        return "means the same", ""
    if after.embedded() != before.embedded() or after.files != before.files:
        return "accepted", f"{name}: {'.'.join(map(str, path))} = {str(value)[:30]!r} is accepted"
    return f"accepted: {path[0]}, which is of the export and not of the model", ""


def _paths(content: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value in JSON."""
    entries: list[tuple[str | int, object]] = []
    if isinstance(content, dict):
        entries = list(cast("dict[str | int, object]", content).items())
    elif isinstance(content, list):
        entries = list(enumerate(cast("list[object]", content)))
    for key, value in entries:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _set(content: Any, path: tuple[str | int, ...], value: object) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


def _exchanged_files(folder: Path) -> Row:
    row = Row("files of two artifacts are never taken for one", "each subset of the files of one in the other's place")
    models = [model.name for model in _models(folder / "a")]
    cases = [
        (model, subset)
        for model in models
        for files in [sorted(path.name for path in (folder / "a").iterdir() if path.name.startswith(model))]
        for subset in range(1, (1 << len(files)) - 1)
    ]
    return run_cases(row, len(cases), lambda number: _try_subset(folder, *cases[number]))


def _try_subset(folder: Path, model: str, subset: int) -> tuple[str, str]:
    """Put some of the files of artifact b into a's place; the data file keeps the name that the model refers to."""
    copy = _Copy(folder)
    for other in copy.folder.iterdir():
        other.unlink()
    for place, (mine, theirs) in enumerate(zip(_files(folder / "a", model), _files(folder / "b", model), strict=True)):
        source = theirs if subset >> place & 1 else mine
        shutil.copyfile(source, copy.folder / mine.name)
    found = copy.check(model)
    shutil.rmtree(copy.folder)
    return (
        ("refused", "")
        if found
        else ("accepted", f"{model}: subset {subset:b} of another artifact's files is accepted")
    )


def _files(folder: Path, model: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith(model))
