"""`export()`: build, write, verify, publish. Nothing reaches the output folder before everything has passed."""

from dataclasses import dataclass, replace
from pathlib import Path

from exporter import __version__
from exporter.artifacts.loading import LoadedArtifact, relative_to
from exporter.artifacts.manifest import MANIFEST_VERSION, Artifact, Manifest, ParityRecord, WeightsRecord, file_entry
from exporter.artifacts.store import check_name, publish, same_file, staging, translate_os_errors
from exporter.engines import find_engine
from exporter.errors import CheckFailedError, UsageError, join_limited
from exporter.formats import FORMATS, WriteRequest, WriteResult
from exporter.formats.export_module import select_outputs
from exporter.parity.golden import require_cache
from exporter.parity.inputs import QUICK
from exporter.parity.tolerance import ERROR_FACTOR
from exporter.results import ParityReport
from exporter.timing import timed
from exporter.types import DEFAULT_OPSET, FORMAT_NAMES, MIN_OPSET, ExportRequest, FormatName, c3d_signature
from exporter.workflows.verify import verify_built
from models.builder import BuiltModel, build, state_sha256
from models.config import MAX_CLASSES, Output
from models.progress import Progress, no_progress


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        artifacts: in the order asked for.
        reports: the verdict on each, empty without verification.
        network: the network in a few words.
        notes: what the user should know.
        seconds: by phase: `build`, `write`, `verify`, `publish`.
    """

    artifacts: tuple[Artifact, ...]
    reports: tuple[ParityReport, ...]
    network: str
    notes: tuple[str, ...]
    seconds: dict[str, float]


class ParityFailedError(CheckFailedError):
    """The written artifact does not answer as the network does; it was not published."""

    def __init__(self, reports: tuple[ParityReport, ...]) -> None:
        names = ", ".join(Path(report.artifact).name for report in reports if not report.passed)
        super().__init__(f"parity failed for {names}; nothing was published (--no-verify publishes without asking)")
        self.reports = reports


def export(request: ExportRequest, progress: Progress = no_progress) -> ExportResult:
    """Build the network, write every format asked for, verify them, and publish them with their manifests.

    Args:
        request: everything that decides the artifacts.
        progress: told at each long step.

    Raises:
        UsageError: options that make no sense.
        CheckpointError: the weights do not load completely.
        ParityFailedError: an artifact does not answer as the network does; the output folder is as it was.
        OutputError: the output folder cannot be written to, or is full.
        UnavailableError: the device to verify on is not there.
    """
    check_request(request)
    seconds: dict[str, float] = {}
    with timed(seconds, "build"):
        progress("building the network")
        built = _build(request, progress)
        network = built.config.describe()
        manifest = _draft_manifest(request, built)
    with staging(request.output_dir) as stage:
        with timed(seconds, "write"), translate_os_errors(request.output_dir):
            written = _write(request, built, manifest, stage, progress)
        reports: tuple[ParityReport, ...] = ()
        if request.verify:
            with timed(seconds, "verify"):
                written, reports = _verify(request, built, written, progress)
        with timed(seconds, "publish"):
            progress("publishing")
            artifacts = _publish(request, built, written, reports, stage)
    notes = (*_notes(built), *(note for made in written.values() for note in made.notes))
    return ExportResult(artifacts, reports, network, notes, seconds)


def check_request(request: ExportRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: with the option and its value.
        UnavailableError: the device to verify on is not there.
    """
    check_name(request.name)
    if not request.formats or len(set(request.formats)) != len(request.formats):
        raise UsageError(
            f"name each format once: {', '.join(request.formats) or 'none given'}; known are {', '.join(FORMAT_NAMES)}"
        )
    if request.outputs is not None and (not request.outputs or len(set(request.outputs)) != len(request.outputs)):
        raise UsageError(f"name each output once: {','.join(request.outputs) or 'none given'}")
    if request.batch is not None and request.batch < 1:
        raise UsageError(f"--batch must be 'dynamic' or at least 1 (got {request.batch})")
    if request.num_classes is not None and not 1 <= request.num_classes <= MAX_CLASSES:
        raise UsageError(f"--num-classes must be between 1 and {MAX_CLASSES} (got {request.num_classes})")
    if not MIN_OPSET <= request.opset <= DEFAULT_OPSET:
        raise UsageError(f"--opset must be between {MIN_OPSET} and {DEFAULT_OPSET} (got {request.opset})")
    _check_onnx_options(request)
    if request.new_head and request.weights is None:
        raise UsageError("--new-head is an option of --weights: without a checkpoint everything is initialised freshly")
    for name in request.formats:
        target = request.output_dir / f"{request.name}{FORMATS[name].suffix}"
        if request.weights is not None and same_file(target, Path(request.weights)):
            raise UsageError(f"{target} is the checkpoint itself; choose another --name or --output-dir")
    if request.verify:
        for name in request.formats:
            find_engine(name).require_device(request.parity.device)
        if request.parity.cache is not None:
            require_cache(request.parity.cache)


def _check_onnx_options(request: ExportRequest) -> None:
    if request.external_data and "onnx" not in request.formats:
        raise UsageError("--external-data is an option of --format onnx")
    if request.weight_dtype != "fp32" and "onnx" not in request.formats:
        raise UsageError(f"--weights-as {request.weight_dtype} is an option of --format onnx")
    if (request.autotune or request.optimize_for != "size") and (
        request.target != "cpu" or "onnx" not in request.formats
    ):
        raise UsageError("--tune and --prefer are options of --format onnx --target cpu")


def _outputs(request: ExportRequest, built: BuiltModel) -> tuple[Output, ...]:
    """Return what the artifact answers.

    Raises:
        UsageError: class scores are wanted of a network without fc8.
    """
    if built.config.num_classes:
        return request.outputs or ("logits",)
    outputs: tuple[Output, ...] = request.outputs or ("fc7",)
    if missing := [name for name in outputs if name in ("logits", "probabilities")]:
        raise UsageError(
            f"the checkpoint has no fc8, so there are no {' or '.join(missing)}: --outputs fc6,fc7 answers its "
            "features; --new-head initialises fc8 freshly, for training"
        )
    return outputs


def _build(request: ExportRequest, progress: Progress) -> BuiltModel:
    return build(
        request.num_classes,
        batch_norm=request.batch_norm,
        pool5=request.pool5,
        seed=request.seed,
        weights=request.weights,
        layout=request.layout,
        new_head=request.new_head,
        progress=progress,
    )


def _draft_manifest(request: ExportRequest, built: BuiltModel) -> Manifest:
    """Return the manifest as far as it is known before anything is written; the format is filled in per artifact."""
    return Manifest(
        version=MANIFEST_VERSION,
        producer=f"c3d-export {__version__}",
        name=request.name,
        format=request.formats[0],
        network=built.config,
        pool5_source=built.pool5_source,
        parameters=built.parameters,
        state_sha256=state_sha256(built.network),
        weights=_weights_record(request, built),
        preprocessing=built.preprocessing,
        signature=c3d_signature(_outputs(request, built), built.config.num_classes, request.batch),
        options={"target": request.target},
        versions={},
    )


def _weights_record(request: ExportRequest, built: BuiltModel) -> WeightsRecord:
    origin = built.weights
    if origin is None:
        return WeightsRecord("seed", built.seed)
    return WeightsRecord(
        source="file",
        seed=built.seed,
        file=to_utf8(origin.path.name),
        sha256=origin.sha256,
        container=origin.container,
        layout=origin.layout,
        loaded=origin.coverage.loaded,
        total=origin.coverage.total,
        reinitialized=origin.coverage.reinitialized,
        converted=origin.coverage.converted,
        ignored_keys=tuple(to_utf8(name) for name in origin.coverage.ignored_keys),
        pool5=origin.pool5,
        url=origin.url,
        path=None if origin.url else to_utf8(relative_to(origin.path, request.output_dir)),
    )


def to_utf8(name: str) -> str:
    """Return a file name that JSON can hold: bytes that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _write(
    request: ExportRequest, built: BuiltModel, manifest: Manifest, stage: Path, progress: Progress
) -> dict[FormatName, WriteResult]:
    module = select_outputs(built.network, _outputs(request, built))
    written: dict[FormatName, WriteResult] = {}
    for name in request.formats:
        progress(f"writing {name}")
        described = replace(manifest, format=name)
        wanted = WriteRequest(
            request.name,
            described,
            request.opset,
            request.target,
            request.external_data,
            request.autotune,
            request.optimize_for,
            request.weight_dtype,
            progress,
        )
        written[name] = FORMATS[name].write(module, wanted, stage)
    return written


def _verify(
    request: ExportRequest, built: BuiltModel, written: dict[FormatName, WriteResult], progress: Progress
) -> tuple[dict[FormatName, WriteResult], tuple[ParityReport, ...]]:
    """Judge what was written, and while something fails, what its format can write instead; return what holds."""
    reports = _check_parity(request, built, written, progress)
    while failed := [made for name, made in written.items() if not reports[name].passed]:
        if any(made.fallback is None for made in failed):
            raise ParityFailedError(tuple(reports.values()))
        built.network.float()  # judging left it in float64
        with translate_os_errors(request.output_dir):
            again: dict[FormatName, WriteResult] = {
                made.manifest.format: made.fallback() for made in failed if made.fallback
            }
        written, reports = written | again, reports | _check_parity(request, built, again, progress)
    return written, tuple(reports.values())


def _check_parity(
    request: ExportRequest, built: BuiltModel, written: dict[FormatName, WriteResult], progress: Progress
) -> dict[FormatName, ParityReport]:
    subjects = [LoadedArtifact(made.files[0], name, made.manifest, ()) for name, made in written.items()]
    options = replace(request.parity, kinds=request.parity.kinds or QUICK)
    staged = verify_built(subjects, built, options, progress)
    # the report names the place the artifact is meant for, not the one it was staged in
    named = [replace(report, artifact=str(request.output_dir / Path(report.artifact).name)) for report in staged]
    return dict(zip(written, named, strict=True))


def _publish(
    request: ExportRequest,
    built: BuiltModel,
    written: dict[FormatName, WriteResult],
    reports: tuple[ParityReport, ...],
    stage: Path,
) -> tuple[Artifact, ...]:
    records = [_parity_record(report, request) for report in reports] or [None] * len(written)
    artifacts: list[Artifact] = []
    for made, record in zip(written.values(), records, strict=True):
        weights = _weights_record(request, built)
        files = tuple(file_entry(path) for path in made.files)
        manifest = replace(made.manifest, files=files, parity=record, weights=weights)
        artifacts.append(Artifact(publish(stage, request.output_dir, manifest), manifest))
    return tuple(artifacts)


def _parity_record(report: ParityReport, request: ExportRequest) -> ParityRecord:
    worst = max(row.budget_used for row in report.comparisons)
    return ParityRecord(report.passed, report.runtime, request.parity.device, ERROR_FACTOR, float(f"{worst:.3g}"))


def _notes(built: BuiltModel) -> tuple[str, ...]:
    origin = built.weights
    if origin is None:
        return (f"the weights are random, drawn from seed {built.seed}; --weights loads a checkpoint",)
    reported = [
        f"{origin.path.name}: {origin.layout} layout, {origin.coverage.loaded} of {origin.coverage.total} tensors"
    ]
    if origin.coverage.reinitialized:
        reported.append(f"fc8 is freshly initialised from seed {built.seed}: train it before you trust its classes")
    reported += origin.notes
    if not built.config.num_classes:
        reported.append(
            "it has no fc8: the artifact answers features (--outputs), no class scores; --new-head adds an fc8"
        )
    if origin.coverage.ignored_keys:
        reported.append(f"left aside, as only training needs it: {join_limited(origin.coverage.ignored_keys, 3)}")
    if built.pool5_source == "option" and origin.pool5 not in (None, built.config.pool5):
        reported.append(
            f"pool5 is {built.config.pool5} by --pool5, although these weights are of {origin.pool5}: other answers"
        )
    if origin.coverage.converted:
        reported.append(f"weights converted from {', '.join(origin.coverage.converted)} to float32")
    if built.pool5_source == "default":
        reported.append(
            "pool5 is symmetric by default, as these names do not tell the convention the weights were "
            "trained under; Caffe-derived weights want --pool5 right"
        )
    return tuple(reported)
