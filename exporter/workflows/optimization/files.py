"""The files that `optimize()` reads and writes: the model with its manifest and data, the result, and decisions."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from exporter.artifacts.files import MANIFEST_SUFFIX, file_entry, manifest_path
from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.provenance import sign_manifest
from exporter.artifacts.publication import is_data_name, publish, publish_files
from exporter.artifacts.rebuilding import move_manifest
from exporter.artifacts.store import check_name, staging
from exporter.errors import ArtifactError, UsageError
from exporter.formats import load_artifact, record_tensors
from exporter.load_checks import LoadChecks
from exporter.onnx_io.load import load_without_weights
from exporter.output_targets import check_output_folder, check_space
from exporter.passes.decisions import RECORD_KEY, RECORD_OPTION, DecisionRecord
from exporter.requests import OptimizeRequest
from exporter.signing import SigningKey
from exporter.storage import translate_os_errors
from models.config import MANIFEST_KEY
from models.paths import read_small_file, same_file

SUFFIX = ".onnx"
SMALLEST_RATIO = 4
"""A result has at least this part of the model's bytes: weights in int8 instead of float32."""


def load_onnx(path: Path, checks: LoadChecks | None = None) -> LoadedArtifact:
    """Find the model and its manifest.

    Raises:
        ArtifactError: no such file, or not ONNX by its name.
        IntegrityError: the manifest beside it describes another file.
        UsageError: it was made for a precision below float32.
    """
    original = load_artifact(path, checks, ("onnx",))
    if original.format != "onnx":
        raise ArtifactError(f"{path}: optimize rewrites ONNX files; export the network with --format onnx")
    if original.manifest is not None and (precision := original.manifest.precision) != "fp32":
        raise UsageError(
            f"{path}: computes in {precision}, and the accuracy that its manifest states is this file's; optimize "
            f"rewrites float32 files. Export the network again: --precision {precision} runs the passes that suit it"
        )
    notes = () if original.manifest is None else original.notes
    return replace(original, notes=notes)


def output_path(request: OptimizeRequest, original: LoadedArtifact, data: Sequence[Path]) -> Path:
    """Return the file to write, for a model with these data files.

    Raises:
        UsageError: not an ONNX file's name, a folder, a file that a manifest of its own describes, or one whose data
            files would have the names that the model's have.
        OutputError: it cannot be written there, or there is no space.
    """
    target = request.output or original.path.with_name(f"{original.path.stem}.optimized{SUFFIX}")
    if target.suffix != SUFFIX or target.is_dir():
        raise UsageError(f"-o {target}: must be a file whose name ends in {SUFFIX}")
    check_name(target.stem)
    check_output_folder(target.parent, "-o", (target.name, manifest_path(target).name))
    check_space(target.parent, original.path.stat().st_size // SMALLEST_RATIO, target.name, "-o")
    described = original.manifest is None and manifest_path(target).exists()
    if described and not same_file(target, original.path):
        raise UsageError(
            f"{target}: {manifest_path(target).name} beside it describes another artifact; choose another name with -o"
        )
    if target.name != original.path.name and same_file(target.parent, original.path.parent):
        taken = next((path.name for path in data if is_data_name(path.name, target.name)), None)
        if taken is not None:
            raise UsageError(
                f"{target}: {taken}, which has weights of {original.path.name}, would be replaced as old data of "
                f"{target.name}; choose another name with -o"
            )
    return target


def publish_model(
    original: LoadedArtifact,
    stage: Path,
    staged: Sequence[Path],
    target: Path,
    manifest: Manifest | None,
    sign: SigningKey | None = None,
) -> tuple[Path, ...]:
    """Move the staged files, the model first in the list, beside each other; return them in place."""
    files = tuple(target.with_name(path.name) for path in staged)
    entries = tuple(file_entry(path) for path in staged)
    if manifest is None:
        publish_files(stage, target.parent, entries)
        return files
    moved = move_manifest(manifest, original.path.parent, target.parent)
    moved = replace(moved, files=entries, tensors=record_tensors("onnx", staged[0]))
    moved = sign_manifest(moved, sign)
    publish(stage, target.parent, moved)
    return (*files, manifest_path(target))


def copy_model(
    original: LoadedArtifact, target: Path, data: Sequence[Path], sign: SigningKey | None = None
) -> tuple[Path, ...]:
    """Copy a model with its data and its manifest, byte for byte, under another name or to another folder."""
    # a manifest beside the file names it, and goes with it; one inside stays there
    manifest = original.manifest if manifest_path(original.path).exists() else None
    if manifest is None and same_file(target.parent, original.path.parent):
        data = ()  # both models refer to the same file
    for path in data:
        there = target.with_name(path.name)
        if there.exists() and not filecmp.cmp(there, path, shallow=False):
            raise UsageError(f"{there} exists and is another file; choose another folder with -o")
    with staging(target.parent) as stage:
        with translate_os_errors(target.parent):
            staged = [stage / target.name, *(stage / path.name for path in data)]
            for source, copy in zip((original.path, *data), staged, strict=True):
                shutil.copyfile(source, copy)
        return publish_model(original, stage, staged, target, manifest, sign)


def total_bytes(files: Sequence[Path]) -> int:
    """Return the size of a model and its data, without the manifest."""
    return sum(path.stat().st_size for path in files if not path.name.endswith(f"{SUFFIX}{MANIFEST_SUFFIX}"))


MAX_BYTES = 1 << 26
"""A record of a large model takes some hundred kilobytes, and `--json`'s output a few megabytes."""


def read_decisions(path: Path) -> DecisionRecord:
    """Read the record in a file.

    Args:
        path: a model (`.onnx`), its manifest, what `optimize --json` printed, or a bare record.

    Raises:
        ArtifactError: unreadable, or without a record.
    """
    if path.suffix == ".onnx":
        metadata = {entry.key: entry.value for entry in load_without_weights(path).metadata_props}
        if RECORD_KEY in metadata:
            return DecisionRecord.from_json(metadata[RECORD_KEY], str(path))
        text: str | bytes = metadata.get(MANIFEST_KEY, "{}")
    else:
        text = read_small_file(path, "file of decisions", MAX_BYTES, ArtifactError)
    return _find(text, path)


def _find(text: str | bytes, path: Path) -> DecisionRecord:
    """Return the record in a manifest, in `--json`'s output, or the record that the text is."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{path}: neither JSON nor an .onnx file: {error}") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path}: holds no decisions of optimize")
    holder = msgspec.convert(found, dict[str, object])
    options = holder.get("options")
    record = holder.get(RECORD_OPTION, options.get(RECORD_OPTION) if isinstance(options, dict) else None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(record, str):
        return DecisionRecord.from_json(record, str(path))
    if "rewritten" in holder:
        return DecisionRecord.from_json(text, str(path))
    raise ArtifactError(f"{path}: holds no decisions of optimize; a model that optimize wrote does, or its --json")
