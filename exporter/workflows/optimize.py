"""`optimize()`: any ONNX file, the same function, faster. Load, rewrite, verify and measure against the original.

A model that no pass changes is left alone, byte for byte. Nothing reaches the output folder before it has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.artifacts.files import MANIFEST_SUFFIX
from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import ArtifactError, UsageError
from exporter.isolation.worker import file_at_work
from exporter.parity.record import parity_record
from exporter.passes.decisions import FIX_SIZES, Decision, UnchangedReason, summarise_unchanged
from exporter.requests import OptimizeRequest
from exporter.results import ParityReport
from exporter.timing import timed
from exporter.workflows.candidates import ParityFailedError, first_accepted
from exporter.workflows.optimization.files import (
    copy_model,
    load_onnx,
    output_path,
    publish_model,
    read_decisions,
    total_bytes,
)
from exporter.workflows.optimization.rewriter import Rewriter, Rewritten
from exporter.workflows.optimization.speed import Speed
from exporter.workflows.optimization.trial import Trial
from models.paths import same_file
from models.progress import Progress, no_progress


@dataclass(frozen=True)
class OptimizeResult:
    """What an optimisation did.

    Attributes:
        source: the model.
        path: the file to use now: a new one, or the source where nothing changed and no other name was asked for.
        modified: whether the graph changed.
        passes: those that changed it.
        decisions: what became of which node.
        unchanged: why nodes were left as they are, each reason once.
        report: the result against the original, None without verification or change.
        speed: how fast the rewritten model was, kept or not; None where nothing was measured.
        record: the decisions for `--decisions`, as JSON.
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
    unchanged: tuple[UnchangedReason, ...]
    report: ParityReport | None
    speed: Speed | None
    record: str
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
    of convolutions, smaller ones are tried. A result that passes is measured against the original; where it is not
    faster, variants are chosen by measuring them, and where that is not faster either the original is kept.

    Args:
        request: the model and how to rewrite it.
        progress: called at each long step.

    Raises:
        UsageError: options that do not go together or do not fit the model, or an output that another artifact's
            manifest describes.
        ArtifactError: the model is bad, onnxruntime cannot run it, or the file of decisions is bad.
        IntegrityError: it is not the one that the manifest beside it describes.
        OptimizationMismatchError: the result does not return what the original returns; nothing was written.
        OutputError: the output folder cannot be written to, or is full.
    """
    from exporter.onnx_io.external_data import external_files

    seconds: dict[str, float] = {}
    original = load_onnx(request.model, request)
    data = external_files(original.path)
    target = output_path(request, original, data)
    with timed(seconds, "open"):
        _require_runnable(original, progress)
        _check_feeds(original, request)
    with ExitStack() as stack:
        stack.enter_context(file_at_work(original.path))
        trial = _make_trial(request, original, target, stack, seconds, progress)
        rewritten, report = _select_rewriting(trial)
        original.require_unchanged()
        with timed(seconds, "publish"):
            files = _publish_result(request, original, target, data, rewritten, report)
    return _make_result(trial, rewritten, report, files, data)


def _make_trial(
    request: OptimizeRequest,
    original: LoadedArtifact,
    target: Path,
    stack: ExitStack,
    seconds: dict[str, float],
    progress: Progress,
) -> Trial:
    """Return the candidates of a run, or of the run whose decisions `request` names.

    Raises:
        UsageError: these decisions are for a model of another structure.
    """
    record = None if request.decisions is None else read_decisions(request.decisions)
    times = {} if record is None else record.times
    rewriter = Rewriter(request, original, target, stack, seconds, progress, times)
    if record is not None and record.structure not in ("", rewriter.structure):
        raise UsageError(
            f"--decisions {request.decisions}: they are for a model of another structure than {request.model}"
        )
    return Trial(request, rewriter, record)


def _select_rewriting(trial: Trial) -> tuple[Rewritten, ParityReport | None]:
    """Return the first candidate that equals the original, and is faster where speed is measured."""
    request = trial.request
    measure = request.measure and trial.record is None and request.optimize.weight_dtype == "fp32"
    try:
        return first_accepted(
            trial.candidates(),
            trial.rewrite,
            trial.verify if request.verify else None,
            trial.is_faster if measure else None,
        )
    except ParityFailedError as error:
        raise OptimizationMismatchError(request.model, error.reports[-1]) from error


def _make_result(
    trial: Trial, rewritten: Rewritten, report: ParityReport | None, files: tuple[Path, ...], data: Sequence[Path]
) -> OptimizeResult:
    request, original = trial.request, trial.rewriter.original
    before = total_bytes((original.path, *data))
    modified = rewritten.stage is not None
    decisions = rewritten.passes.decisions or (() if trial.slower is None else trial.slower.passes.decisions)
    return OptimizeResult(
        source=request.model,
        path=trial.rewriter.target if files else original.path,
        modified=modified,
        passes=rewritten.passes.changed,
        decisions=decisions,
        unchanged=summarise_unchanged(decisions),
        report=report,
        speed=trial.speed,
        record=rewritten.record.to_json(),
        files=files,
        bytes_before=before,
        bytes_after=total_bytes(files) if modified else before,
        notes=(
            *original.notes,
            *trial.notes,
            *rewritten.notes,
            *_dynamic_size_notes(original, decisions),
            *_signing_notes(request, files),
        ),
        seconds=trial.rewriter.seconds,
    )


def _require_runnable(original: LoadedArtifact, progress: Progress) -> None:
    from exporter.parity.runnable import require_runnable

    try:
        require_runnable(original, progress)
    except ArtifactError:
        from exporter.onnx_io.reader import require_whole

        require_whole(original.path)  # the reason of an engine says less
        raise


def _check_feeds(original: LoadedArtifact, request: OptimizeRequest) -> None:
    """Refuse a wrong `--feed`, also where nothing is rewritten and so nothing is compared."""
    from exporter.parity.discovery import read_model_signature
    from exporter.parity.input_plan import check_feeds

    if request.inputs.feeds:
        check_feeds(read_model_signature(original), request.inputs)


def _signing_notes(request: OptimizeRequest, files: Sequence[Path]) -> tuple[str, ...]:
    """Return what the signer should know: that the key can be read, or that there was nothing to sign."""
    if request.sign is None:
        return ()
    if not any(path.suffix == MANIFEST_SUFFIX for path in files):
        return ("--sign-key: nothing was signed: a signature is in the manifest, and no file with one was written",)
    return request.sign.notes


def _dynamic_size_notes(original: LoadedArtifact, decisions: Sequence[Decision]) -> list[str]:
    """Return how to fix the sizes of each input, where dynamic sizes kept a node from being rewritten."""
    from exporter.onnx_io.signature import read_signature

    if not any(row.remedy == FIX_SIZES for row in decisions):
        return []
    free = [
        value for value in read_signature(original.path).inputs if not all(_fixed(size) for size in value.shape[1:])
    ]
    return [
        f"{value} has dynamic sizes; --shape {value.name}={'x'.join(_example_sizes(value.shape))} fixes them, with the "
        "sizes that the model will run at"
        for value in free
    ]


def _example_sizes(shape: Sequence[int | str]) -> list[str]:
    batch, *sizes = shape
    return [str(batch) if _fixed(batch) else "1", *(str(size) if _fixed(size) else "SIZE" for size in sizes)]


def _fixed(size: int | str) -> bool:
    return isinstance(size, int) and size > 0


def _publish_result(
    request: OptimizeRequest,
    original: LoadedArtifact,
    target: Path,
    data: Sequence[Path],
    rewritten: Rewritten,
    report: ParityReport | None,
) -> tuple[Path, ...]:
    """Publish the rewritten model; of one that nothing changed, its bytes under the name asked for."""
    if rewritten.stage is not None:
        manifest = rewritten.manifest
        if manifest is not None:
            manifest = replace(manifest, parity=None if report is None else parity_record(report))
        return publish_model(original, rewritten.stage, rewritten.files, target, manifest, request.sign)
    if request.output is None or same_file(target, original.path):
        return ()
    return copy_model(original, target, data, request.sign)
