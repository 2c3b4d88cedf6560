"""`optimize()`: any ONNX file, the same function, faster. Load, rewrite, verify against the original, publish.

A model that no pass changes is left alone, byte for byte. Nothing reaches the output folder before it has passed.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifacts.loading import LoadedArtifact, relative_to
from exporter.artifacts.manifest import MANIFEST_SUFFIX, Manifest, file_entry, manifest_path
from exporter.artifacts.store import atomic_replace, check_name, publish, same_file, staging, translate_os_errors
from exporter.errors import ArtifactError, UsageError
from exporter.formats import load_artifact
from exporter.formats.onnx import PASSES_KEY
from exporter.parity.record import parity_record
from exporter.passes.tiles import tile_candidates
from exporter.results import ParityReport
from exporter.timing import timed
from exporter.types import QUICK, OptimizeRequest, ParityOptions
from exporter.workflows.candidates import ParityFailedError
from models.config import MANIFEST_KEY
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporter.passes.base import Decision, PassesResult

SUFFIX = ".onnx"
LOW_PRECISION = ("FLOAT16", "BFLOAT16", "FLOAT8", "FLOAT4", "INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2")
MAX_SINGLE_FILE_BYTES = (1 << 31) - (1 << 22)


@dataclass(frozen=True)
class OptimizeResult:
    """What an optimisation did.

    Attributes:
        source: the model.
        path: the file to use now: a new one, or the source where nothing changed and no other name was asked for.
        modified: whether the graph changed.
        passes: those that changed it.
        decisions: what became of which node.
        report: the result against the original, None without verification or change.
        files: what was written.
        bytes_before: of the source and its data.
        bytes_after: of the file to use and its data.
        notes: what the user should know.
        seconds: by phase.
    """

    source: Path
    path: Path
    modified: bool
    passes: tuple[str, ...]
    decisions: tuple[Decision, ...]
    report: ParityReport | None
    files: tuple[Path, ...]
    bytes_before: int
    bytes_after: int
    notes: tuple[str, ...]
    seconds: dict[str, float]


class OptimizationMismatchError(ParityFailedError):
    """The rewritten model does not return what the original returns; nothing was written."""

    def __init__(self, source: Path, report: ParityReport) -> None:
        super().__init__(
            (report,),
            f"{source}: the optimized model does not return what the original returns; nothing was written "
            "(--explain --no-verify shows what was rewritten)",
        )
        self.report = report


def optimize(request: OptimizeRequest, progress: Progress = no_progress) -> OptimizeResult:
    """Rewrite an ONNX model and publish the result, once it is compared with the original in float64.

    Larger Winograd tiles are tried first. Where their rounding adds up to more than the error budget, in a deep stack
    of convolutions, smaller ones are tried.

    Args:
        request: the model and how to rewrite it.
        progress: called at each long step.

    Raises:
        UsageError: options that do not go together, or an output that another artifact's manifest describes.
        ArtifactError: the model is bad.
        IntegrityError: it is not the one that the manifest beside it describes.
        OptimizationMismatchError: the result does not return what the original returns; nothing was written.
        OutputError: the output folder cannot be written to, or is full.
    """
    mismatch: OptimizationMismatchError | None = None
    for options in tile_candidates(request.optimize):
        try:
            done = _optimize_once(replace(request, optimize=options), progress)
        except OptimizationMismatchError as error:
            mismatch = error
            continue
        if mismatch is None:
            return done
        outcome = f"tiles of {options.max_tile} pass" if done.modified else f"tiles of {options.max_tile} are no faster"
        return replace(done, notes=(*done.notes, f"larger Winograd tiles exceeded the error budget; {outcome}"))
    assert mismatch is not None, "there is always a candidate"
    raise mismatch


def _optimize_once(request: OptimizeRequest, progress: Progress) -> OptimizeResult:
    from exporter.onnx_io.external_data import external_files
    from exporter.onnx_io.reader import read_model
    from exporter.passes.base import PassesResult, run_passes
    from exporter.passes.pipelines import build_passes

    seconds: dict[str, float] = {}
    subject = load_onnx(request.model)
    target = output_path(request, subject)
    with timed(seconds, "load"):
        progress(f"loading {request.model.name}")
        model = read_model(subject.path)
        data = external_files(subject.path)
    with timed(seconds, "passes"):
        refusal = unsupported_reason(model)
        applied = (
            PassesResult(False, (), ())
            if refusal
            else run_passes(model, build_passes(request.optimize, progress), progress)
        )
    before = sum(path.stat().st_size for path in (subject.path, *data))
    notes = (*subject.notes, *([refusal] if refusal else []))
    if not applied.modified:
        del model
        return _unchanged(request, subject, target, data, applied, notes, seconds, before)
    with staging(target.parent) as stage:
        with timed(seconds, "write"), translate_os_errors(target.parent):
            progress(f"writing {target.name}")
            staged, manifest = _write(request, subject, model, applied, stage, target, external=bool(data))
            del model
        report = None
        if request.verify:
            with timed(seconds, "verify"):
                report = _verify(request, subject, staged[0], target, progress)
        with timed(seconds, "publish"):
            if manifest is not None:
                manifest = replace(manifest, parity=None if report is None else parity_record(report))
            files = _publish(subject, stage, staged, target, manifest)
    return OptimizeResult(
        source=request.model,
        path=target,
        modified=True,
        passes=applied.changed,
        decisions=applied.decisions,
        report=report,
        files=files,
        bytes_before=before,
        bytes_after=_bytes(files),
        notes=notes,
        seconds=seconds,
    )


def load_onnx(path: Path) -> LoadedArtifact:
    """Find the model and its manifest.

    Raises:
        ArtifactError: no such file, or not ONNX by its name.
        IntegrityError: the manifest beside it describes another file.
    """
    subject = load_artifact(path)
    if subject.format != "onnx":
        raise ArtifactError(f"{path}: optimize rewrites ONNX files; export with --format onnx")
    notes = () if subject.manifest is None else subject.notes
    return replace(subject, notes=notes)


def output_path(request: OptimizeRequest, subject: LoadedArtifact) -> Path:
    """Return the file to write.

    Raises:
        UsageError: not an ONNX file's name, a folder, or a file that a manifest of its own describes.
    """
    target = request.output or subject.path.with_name(f"{subject.path.stem}.optimized{SUFFIX}")
    if target.suffix != SUFFIX or target.is_dir():
        raise UsageError(f"-o {target}: must be a file whose name ends in {SUFFIX}")
    check_name(target.stem)
    foreign = subject.manifest is None and manifest_path(target).exists()
    if foreign and not same_file(target, subject.path):
        raise UsageError(
            f"{target}: {manifest_path(target).name} beside it describes another artifact; choose another name with -o"
        )
    return target


def unsupported_reason(model: ir.Model) -> str | None:
    """Return why a model is left alone altogether: its weights are not float32."""
    values = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    held = {tensor.dtype for tensor in values if tensor is not None and len(tensor.shape.numpy()) > 0}
    reduced = {kind for kind in held if kind.name.startswith(LOW_PRECISION)}
    if not reduced:
        return None
    names = ", ".join(sorted(kind.name.lower() for kind in reduced))
    return f"its weights are {names}; only models with float32 weights are rewritten"


def _write(
    request: OptimizeRequest,
    subject: LoadedArtifact,
    model: ir.Model,
    applied: PassesResult,
    stage: Path,
    target: Path,
    *,
    external: bool,
) -> tuple[tuple[Path, ...], Manifest | None]:
    """Write the rewritten model into the stage and check it; return its files, the model first, and its manifest."""
    from exporter.onnx_io.writer import write_onnx

    external = external or _weight_bytes(model) > MAX_SINGLE_FILE_BYTES
    manifest = None
    if subject.manifest is not None:
        manifest = _optimized_manifest(request, subject.manifest, applied, target, external=external)
        model.metadata_props[MANIFEST_KEY] = manifest.embedded().to_json()
    else:
        model.metadata_props[PASSES_KEY] = ", ".join(applied.changed)
    written = write_onnx(model, stage, target.name, external_data=external)
    return written, manifest


def _weight_bytes(model: ir.Model) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def _optimized_manifest(
    request: OptimizeRequest, manifest: Manifest, applied: PassesResult, target: Path, *, external: bool
) -> Manifest:
    """Return the original's manifest as it is for the rewritten model."""
    from exporter.passes.base import manifest_options

    options = {**manifest.options, **manifest_options(request.optimize, applied), "external_data": external}
    names = ("onnx", "onnx-ir", "onnxscript", *(("onnxruntime",) if request.optimize.autotune else ()))
    versions = {**manifest.versions, **{name: version(name) for name in names}}
    return replace(manifest, name=target.stem, options=options, versions=versions, files=(), parity=None)


def _verify(
    request: OptimizeRequest, subject: LoadedArtifact, staged: Path, target: Path, progress: Progress
) -> ParityReport:
    """Compare the staged model with the original, and name it in the report by where it is meant to go."""
    from exporter.workflows.verify import verify_against_file

    options = ParityOptions(seed=request.seed, input_types=QUICK)
    artifact = replace(load_artifact(staged), notes=())
    (report,) = verify_against_file([artifact], subject, options, request.shapes, progress)
    report = replace(report, artifact=str(target))
    if not report.passed:
        raise OptimizationMismatchError(request.model, report)
    return report


def _publish(
    subject: LoadedArtifact, stage: Path, staged: Sequence[Path], target: Path, manifest: Manifest | None
) -> tuple[Path, ...]:
    """Move the staged files, the model first in the list, beside each other; return them in place."""
    files = tuple(target.with_name(path.name) for path in staged)
    if manifest is None:
        for path in reversed(staged):  # the model last: until then nothing refers to its data
            atomic_replace(path, target.with_name(path.name))
        return files
    checkpoint = manifest.checkpoint
    if checkpoint is not None and checkpoint.path is not None:
        path = relative_to(subject.path.parent / checkpoint.path, target.parent)
        checkpoint = replace(checkpoint, path=path)
    entries = tuple(file_entry(path) for path in staged)
    publish(stage, target.parent, replace(manifest, files=entries, checkpoint=checkpoint))
    return (*files, manifest_path(target))


def _unchanged(
    request: OptimizeRequest,
    subject: LoadedArtifact,
    target: Path,
    data: Sequence[Path],
    applied: PassesResult,
    notes: tuple[str, ...],
    seconds: dict[str, float],
    before: int,
) -> OptimizeResult:
    """Return the result of a model that nothing changed: itself, or its bytes under the name asked for."""
    files: tuple[Path, ...] = ()
    if request.output is not None and not same_file(target, subject.path):
        with timed(seconds, "publish"):
            files = _copy(subject, target, data)
    path = target if files else subject.path
    return OptimizeResult(
        source=request.model,
        path=path,
        modified=False,
        passes=(),
        decisions=applied.decisions,
        report=None,
        files=files,
        bytes_before=before,
        bytes_after=before,
        notes=notes,
        seconds=seconds,
    )


def _copy(subject: LoadedArtifact, target: Path, data: Sequence[Path]) -> tuple[Path, ...]:
    """Copy a model with its data and its manifest, byte for byte, under another name or to another folder."""
    # a manifest beside the file names it, and goes with it; one inside stays there
    manifest = subject.manifest if manifest_path(subject.path).exists() else None
    if manifest is None and same_file(target.parent, subject.path.parent):
        data = ()  # both models refer to the same file
    for path in data:
        there = target.with_name(path.name)
        if there.exists() and not filecmp.cmp(there, path, shallow=False):
            raise UsageError(f"{there} exists and is another file; choose another folder with -o")
    with staging(target.parent) as stage:
        with translate_os_errors(target.parent):
            staged = [stage / target.name, *(stage / path.name for path in data)]
            for source, copy in zip((subject.path, *data), staged, strict=True):
                shutil.copyfile(source, copy)
        return _publish(subject, stage, staged, target, manifest)


def _bytes(files: Sequence[Path]) -> int:
    """Return the size of a model and its data, without the manifest."""
    return sum(path.stat().st_size for path in files if not path.name.endswith(f"{SUFFIX}{MANIFEST_SUFFIX}"))
