"""`optimize()`: any ONNX file, the same function, faster. Load, rewrite, verify against the original, publish.

A model that no pass changes is left alone, byte for byte. Nothing reaches the output folder before it has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.store import same_file, staging, translate_os_errors
from exporter.formats import load_artifact
from exporter.formats.onnx import PASSES_KEY
from exporter.parity.record import parity_record
from exporter.passes.tiles import tile_candidates
from exporter.results import ParityReport
from exporter.timing import timed
from exporter.types import QUICK, OptimizeOptions, OptimizeRequest, ParityOptions
from exporter.workflows.candidates import ParityFailedError, first_accepted
from exporter.workflows.optimize_files import copy_model, load_onnx, output_path, publish_model, total_bytes
from models.config import MANIFEST_KEY
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporter.passes.base import Decision, PassesResult

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
    from exporter.onnx_io.external_data import external_files

    seconds: dict[str, float] = {}
    subject = load_onnx(request.model)
    target = output_path(request, subject)
    data = external_files(subject.path)
    with ExitStack() as stack:

        def write(options: OptimizeOptions, rejected: tuple[OptimizeOptions, ...]) -> _Rewritten:
            return _rewrite(replace(request, optimize=options), subject, target, rejected, stack, seconds, progress)

        def verify(rewritten: _Rewritten) -> ParityReport | None:
            if rewritten.stage is None:
                return None
            with timed(seconds, "verify"):
                return _verify(request, subject, rewritten.files[0], target, progress)

        try:
            rewritten, report = first_accepted(
                tile_candidates(request.optimize), write, verify if request.verify else None
            )
        except ParityFailedError as error:
            raise OptimizationMismatchError(request.model, error.reports[-1]) from error
        with timed(seconds, "publish"):
            files = _publish_result(request, subject, target, data, rewritten, report)
    before = total_bytes((subject.path, *data))
    modified = rewritten.stage is not None
    return OptimizeResult(
        source=request.model,
        path=target if files else subject.path,
        modified=modified,
        passes=rewritten.passes.changed,
        decisions=rewritten.passes.decisions,
        report=report,
        files=files,
        bytes_before=before,
        bytes_after=total_bytes(files) if modified else before,
        notes=(*subject.notes, *rewritten.notes),
        seconds=seconds,
    )


@dataclass(frozen=True)
class _Rewritten:
    """A rewritten model in its stage; without a stage, one that no pass changed."""

    passes: PassesResult
    notes: tuple[str, ...]
    stage: Path | None = None
    files: tuple[Path, ...] = ()
    manifest: Manifest | None = None


def _rewrite(
    request: OptimizeRequest,
    subject: LoadedArtifact,
    target: Path,
    rejected: tuple[OptimizeOptions, ...],
    stack: ExitStack,
    seconds: dict[str, float],
    progress: Progress,
) -> _Rewritten:
    """Rewrite the model with one candidate's options, into a stage that `stack` removes."""
    from exporter.onnx_io.reader import read_model
    from exporter.passes.base import PassesResult, run_passes
    from exporter.passes.pipelines import build_passes

    with timed(seconds, "load"):
        progress(f"loading {request.model.name}")
        model = read_model(subject.path)
    refusal = unsupported_reason(model)
    with timed(seconds, "passes"):
        passes = (
            PassesResult(False, (), ())
            if refusal
            else run_passes(model, build_passes(request.optimize, progress), progress)
        )
    notes = [refusal] if refusal else []
    if rejected:
        outcome = "pass" if passes.modified else "are no faster"
        tiles = f"tiles of {request.optimize.max_tile} {outcome}"
        notes.append(f"larger Winograd tiles exceeded the error budget; {tiles}")
    if not passes.modified:
        return _Rewritten(passes, tuple(notes))
    stage = stack.enter_context(staging(target.parent))
    with timed(seconds, "write"), translate_os_errors(target.parent):
        progress(f"writing {target.name}")
        files, manifest = _write(request, subject, model, passes, stage, target)
    return _Rewritten(passes, tuple(notes), stage, files, manifest)


def _publish_result(
    request: OptimizeRequest,
    subject: LoadedArtifact,
    target: Path,
    data: Sequence[Path],
    rewritten: _Rewritten,
    report: ParityReport | None,
) -> tuple[Path, ...]:
    """Publish the rewritten model; of one that nothing changed, its bytes under the name asked for."""
    if rewritten.stage is not None:
        manifest = rewritten.manifest
        if manifest is not None:
            manifest = replace(manifest, parity=None if report is None else parity_record(report))
        return publish_model(subject, rewritten.stage, rewritten.files, target, manifest)
    if request.output is None or same_file(target, subject.path):
        return ()
    return copy_model(subject, target, data)


def unsupported_reason(model: ir.Model) -> str | None:
    """Return why a model is left alone altogether: its weights are not float32."""
    values = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    dtypes = {tensor.dtype for tensor in values if tensor is not None and len(tensor.shape.numpy()) > 0}
    reduced = {dtype for dtype in dtypes if dtype.name.startswith(LOW_PRECISION)}
    if not reduced:
        return None
    names = ", ".join(sorted(dtype.name.lower() for dtype in reduced))
    return f"its weights are {names}; only models with float32 weights are rewritten"


def _write(
    request: OptimizeRequest,
    subject: LoadedArtifact,
    model: ir.Model,
    applied: PassesResult,
    stage: Path,
    target: Path,
) -> tuple[tuple[Path, ...], Manifest | None]:
    """Write the rewritten model into the stage and check it; return its files, the model first, and its manifest."""
    from exporter.onnx_io.external_data import external_files
    from exporter.onnx_io.writer import write_onnx

    external = bool(external_files(subject.path)) or _weight_bytes(model) > MAX_SINGLE_FILE_BYTES
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
    return replace(report, artifact=str(target))
