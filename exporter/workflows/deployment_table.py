"""`benchmark_all()`: export every way there is, verify, measure side by side, and say which one to deploy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from exporter.artifacts.export_command import export_command
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import CALIBRATION, WEIGHT_DTYPE
from exporter.artifacts.rebuilding import rebuild_network
from exporter.artifacts.recorded_options import find_build_options
from exporter.bench.deployment.choice import describe_rule, find_exact, mark_pareto, recommend
from exporter.bench.deployment.measuring import Measured, measure
from exporter.bench.deployment.types import (
    DeploymentRequest,
    DeploymentRow,
    DeploymentTable,
    ExportedVariant,
    MissingRow,
    Variant,
)
from exporter.bench.deployment.variants import list_variants
from exporter.engines import find_engine, find_verifying_engine
from exporter.errors import CheckFailedError, UnavailableError
from exporter.formats import FORMATS, load_artifact
from exporter.load_checks import LoadChecks
from exporter.system import available_cpus, environment
from exporter.timing import timed
from exporter.types import DEFAULT_OPSET, MIN_SNR, ComputePrecision, Device
from exporter.workflows.bench import METHOD as BENCH_METHOD
from exporter.workflows.bench_checks import check_comparison
from exporter.workflows.calibration import make_calibration
from exporter.workflows.variant_exports import (
    command_request,
    comparison_key,
    export_variants,
    open_folder,
    require_space,
)
from models.builder import build
from models.built_model import BuiltModel
from models.errors import count
from models.options import BuildOptions
from models.progress import Progress, no_progress
from models.text import format_bytes

METHOD = (
    "every row is exported and passes the check that `c3d-export` makes before it publishes a file",
    "dB and top-1: the lowest signal-to-noise ratio of any output on any held-out clip, relative to the network in "
    "float64, and the fraction of clips with its highest class; computed by the processes that are timed",
    *(sentence for sentence in BENCH_METHOD if not sentence.startswith(("the ratio to the first", "roofline"))),
)


def benchmark_all(
    request: DeploymentRequest, progress: Progress = no_progress, finished: Progress = no_progress
) -> DeploymentTable:
    """Export every format and precision that can run here, verify and measure them, and recommend one.

    A variant that cannot be had here, fails its check, or fails while it is measured is reported with the reason. A run
    that is stopped leaves what it has exported and verified; the same request goes on with it.

    Args:
        request: everything that decides the comparison.
        progress: called at each step.
        finished: called with a line for every variant that is exported, or cannot be, and before they are measured.

    Raises:
        UsageError: options that are invalid, or that the artifact does not allow.
        CheckpointError: the weights do not load completely.
        ArtifactError: the artifact cannot be read, or its network cannot be built again.
        BadInputError: a calibration video cannot be read.
        OutputError: there is no room for the artifacts, or the folder cannot be written to.
        UnavailableError: nothing can be exported for the device.
        CheckFailedError: no variant passed its check, or none could be measured.
    """
    check_comparison(request)
    seconds: dict[str, float] = {}
    with timed(seconds, "build"):
        progress("building the network")
        model, options, request, notes = _build(request, progress)
        clips = make_calibration(model, request.precision.calibration, progress=progress)
    variants, missing = _require_variants(request)
    with open_folder(request.work_dir, comparison_key(request, model, clips)) as work:
        with timed(seconds, "export"):
            require_space(work.path, model, variants)
            exported, failed = export_variants(variants, model, request, work.path, progress, finished)
        work.keep |= any(row.kind == "postponed" for row in failed)
        missing += failed
        _require_some(exported, missing, "exported")
        finished(f"measuring {count(len(exported), 'export')} side by side")
        with timed(seconds, "measure"):
            measured = measure(exported, model, clips, request.measure, work.path, progress)
    missing += tuple(_not_measured(measured, exported))
    known = (*model.notes, *clips.notes)
    rows = mark_pareto(tuple(_rows(measured, exported, replace(request, model=options or model), known)))
    _require_some(rows, missing, "measured")
    best, exact = recommend(rows, request.precision), find_exact(rows)
    return DeploymentTable(
        network=model.title,
        device=request.measure.device,
        threads=_threads(request),
        clips=clips.description,
        rows=rows,
        missing=missing,
        recommended=best and best.name,
        exact=exact and exact.name,
        rule=describe_rule(request.precision),
        method=METHOD,
        notes=(*notes, *known, _describe_sizes(exported), *measured.notes),
        environment=environment(),
        seconds=seconds,
        folder=work.path if work.keep else None,
    )


def _require_variants(request: DeploymentRequest) -> tuple[tuple[Variant, ...], tuple[MissingRow, ...]]:
    """Return the variants to try, at least one, and what cannot be had here."""
    variants, missing = list_variants(FORMATS, request.measure.device, request.formats)
    if not variants:
        raise UnavailableError(f"nothing can be exported for {request.measure.device}: {missing[0].reason}")
    return variants, missing


def _describe_sizes(exported: Sequence[ExportedVariant]) -> str:
    size = format_bytes(sum(found.bytes for found in exported))
    return f"{count(len(exported), 'artifact')} written, of {size} in all"


def _require_some(found: Sequence[object], missing: Sequence[MissingRow], done: str) -> None:
    """Raise CheckFailedError where nothing was exported or measured."""
    if not found:
        raise CheckFailedError(f"no variant could be {done}; {missing[-1].name}: {missing[-1].reason}")


def _build(
    request: DeploymentRequest, progress: Progress
) -> tuple[BuiltModel, BuildOptions | None, DeploymentRequest, tuple[str, ...]]:
    """Return the network as it takes clips, the options that build it, the request with its outputs, and notes."""
    options = request.model if isinstance(request.model, BuildOptions) else None
    notes: tuple[str, ...] = ()
    if request.artifact is None:
        model = build(options, progress) if options is not None else request.model
        assert isinstance(model, BuiltModel)
    else:
        # its network is exported again; nothing of it runs
        checks = LoadChecks(
            trust=True, verify_keys=request.measure.verify_keys, expect_sha256=request.measure.expect_sha256
        )
        artifact = load_artifact(request.artifact, checks)
        model, notes = rebuild_network(artifact, request.model, progress)
        options = options and find_build_options(artifact, options)
        if artifact.manifest is not None:
            request, more = _with_recorded(request, artifact.manifest, model)
            notes += more
    if model.without_preprocessing is not None:
        model = model.without_preprocessing
        notes += ("measured without the preprocessing that the artifact has inside; --with-preprocess adds it",)
    return model, options, request, notes


def _with_recorded(
    request: DeploymentRequest, manifest: Manifest, model: BuiltModel
) -> tuple[DeploymentRequest, tuple[str, ...]]:
    """Return the request with what an artifact's manifest records and the request leaves open, and notes about it."""
    notes: list[str] = []
    names = tuple(output.name for output in manifest.signature.outputs)
    if request.outputs is None and names != tuple(output.name for output in model.select()):
        request = replace(request, outputs=names)
    if request.batch is None and request.measure.batches is None and manifest.signature.batch is not None:
        request = replace(request, batch=manifest.signature.batch)
        notes.append(f"every export has the artifact's fixed batch size, {request.batch}; --batch 1,4 makes it dynamic")
    precision, stored = manifest.precision, str(manifest.options.get(WEIGHT_DTYPE))
    usual = {MIN_SNR.get(precision), MIN_SNR.get(cast("ComputePrecision", stored))}
    wanted = request.precision
    if wanted.min_snr is None and manifest.min_snr is not None and manifest.min_snr not in usual:
        wanted = replace(wanted, min_snr=manifest.min_snr)
        notes.append(f"the minimum is that of the artifact, {manifest.min_snr:g} dB; --min-snr names another")
    if wanted.min_top1 is None and manifest.min_top1 is not None:
        wanted = replace(wanted, min_top1=manifest.min_top1)
        notes.append(f"the minimum of --min-top1 is that of the artifact, {manifest.min_top1:g}")
    if request.opset is None and manifest.opset not in (None, DEFAULT_OPSET):
        request = replace(request, opset=manifest.opset)
        notes.append(f"ONNX files have the artifact's opset, {manifest.opset}; --opset names another")
    if request.external_data is None and manifest.external_data:
        request = replace(request, external_data=True)
        notes.append("ONNX files have their weights in a second file, as the artifact has")
    calibration = str(manifest.options.get(CALIBRATION, "")).partition(" ")[2]
    if calibration and not manifest.verified_on_packaged_clip and not wanted.calibration.clips:
        notes.append(
            f"the artifact was calibrated on {calibration}, and its manifest does not say where they are: name them "
            "with --calibrate"
        )
    return replace(request, precision=wanted), tuple(notes)


def _rows(
    measured: Measured, exported: Sequence[ExportedVariant], request: DeploymentRequest, known: Sequence[str]
) -> Iterator[DeploymentRow]:
    """Yield the rows of what was measured, each with the command that a user would type, without notes `known`."""
    variants = {found.path.name: found for found in exported}
    failed = {skipped.target for skipped in measured.missing}
    for target, speeds in measured.speeds.items():
        accuracy = measured.accuracies.get(target)
        if target in failed or accuracy is None:
            continue
        found = variants.get(target)
        yield DeploymentRow(
            name=target if found is None else str(found.variant),
            variant=found and found.variant,
            engine=measured.engines[target],
            bytes=found and found.bytes,
            load=measured.loads[target],
            snr_db=accuracy.snr_db,
            top1=accuracy.top1,
            speeds=tuple(speeds),
            command=None if found is None else export_command(command_request(found.variant, request)),
            notes=() if found is None else tuple(_own_notes(found, known, request.measure.device)),
            raised=0 if found is None else found.raised,
        )


def _own_notes(found: ExportedVariant, known: Sequence[str], device: Device) -> Iterator[str]:
    """Yield the notes of one export that the table does not have already, without its format's name in front."""
    for note in found.notes:
        if note not in known:
            yield note.removeprefix(f"{found.variant.format}: ")
    variant = found.variant
    engine = find_engine(variant.format)
    verifier = find_verifying_engine(variant.format, None, variant.precision, device)
    if verifier != engine:
        yield f"verified in {verifier.display_name}; dB and times are those of {engine.display_name} here"


def _not_measured(measured: Measured, exported: Sequence[ExportedVariant]) -> Iterator[MissingRow]:
    variants = {found.path.name: str(found.variant) for found in exported}
    for skipped in dict.fromkeys(measured.missing):
        reason = skipped.reason if skipped.added else f"while it was measured: {skipped.reason}"
        kind = "unavailable" if skipped.added else "failed"
        yield MissingRow(variants.get(skipped.target, skipped.target), reason, kind)


def _threads(request: DeploymentRequest) -> int:
    return request.measure.threads[0] if request.measure.threads else available_cpus()
