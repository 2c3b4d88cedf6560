"""`benchmark_all()`: export every way there is, verify, measure side by side, and say which one to deploy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil

from exporter.artifacts.loading import rebuild_network
from exporter.bench.deployment.accuracy import Accuracy, measure_accuracy
from exporter.bench.deployment.choice import describe_rule, find_exact, mark_pareto, recommend
from exporter.bench.deployment.types import (
    BatchSpeed,
    DeploymentRequest,
    DeploymentRow,
    DeploymentTable,
    MissingRow,
)
from exporter.bench.deployment.variants import list_variants
from exporter.bench.plan import BenchPlan, make_plan
from exporter.bench.rounds import RunConfig, TargetState, run_rows
from exporter.bench.runner import BenchRun, Inspect
from exporter.bench.targets import BenchTarget
from exporter.bench.types import BenchRequest
from exporter.bench.worker_client import WorkerError
from exporter.calibration_clips import CalibrationClips
from exporter.errors import CheckFailedError, UnavailableError, UsageError
from exporter.formats import FORMATS, load_artifact
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.inputs import make_network_inputs
from exporter.parity.sources import NetworkSource
from exporter.storage import translate_os_errors
from exporter.system import available_cpus, environment
from exporter.timing import timed
from exporter.types import ExportRequest, InputOptions, ParityOptions
from exporter.workflows.bench import METHOD as BENCH_METHOD
from exporter.workflows.bench import check_request as check_measuring
from exporter.workflows.export_command import build_options_of, export_command
from exporter.workflows.precision import check_precision
from exporter.workflows.variant_exports import (
    BYTES_PER_VALUE,
    REFERENCE,
    ExportedVariant,
    command_request,
    comparison_key,
    export_variants,
    open_folder,
    require_space,
)
from models.builder import build
from models.built_model import BuiltModel
from models.options import BuildOptions
from models.progress import Progress, no_progress

METHOD = (
    "every row is exported and passes the check that `c3d-export` makes before it publishes a file",
    "dB and top-1: the lowest signal-to-noise ratio of any output on any held-out clip, relative to the network in "
    "float64, and the share of clips with its highest class; computed by the processes that are timed",
    *(sentence for sentence in BENCH_METHOD if not sentence.startswith(("the ratio to the first", "roofline"))),
)
FREE_MEMORY = 0.8
"""The part of the memory that is free now, which the processes of one group may take."""
WEIGHT_COPIES, PROCESS_BYTES = 3, 5 * 10**8
"""What a process is assumed to take: the file, the engine's copy and one more while it loads; libraries and a batch."""


@dataclass
class Measured:
    """What was measured of each target, by its name in the plan."""

    engines: dict[str, str] = field(default_factory=dict[str, str])
    loads: dict[str, float] = field(default_factory=dict[str, float])
    speeds: dict[str, list[BatchSpeed]] = field(default_factory=dict[str, list[BatchSpeed]])
    accuracies: dict[str, Accuracy] = field(default_factory=dict[str, Accuracy])
    missing: list[tuple[str, str, bool]] = field(default_factory=list[tuple[str, str, bool]])
    notes: list[str] = field(default_factory=list[str])


def benchmark_all(request: DeploymentRequest, progress: Progress = no_progress) -> DeploymentTable:
    """Export every format and precision that can run here, verify and measure them, and recommend one.

    A variant that cannot be had here, fails its check, or fails while it is measured is reported with the reason. A run
    that is stopped leaves what it has exported and verified; the same request goes on with it.

    Args:
        request: everything that decides the comparison.
        progress: called at each step.

    Raises:
        UsageError: options that are invalid, or that the artifact does not allow.
        CheckpointError: the weights do not load completely.
        ArtifactError: the artifact cannot be read, or its network cannot be built again.
        BadInputError: a calibration video cannot be read.
        OutputError: there is no room for the artifacts, or the folder cannot be written to.
        UnavailableError: nothing can be exported for the device.
        CheckFailedError: no variant passed its check, or none could be measured.
    """
    check_request(request)
    seconds: dict[str, float] = {}
    with timed(seconds, "build"):
        progress("building the network")
        model, options, request, notes = _build(request, progress)
        clips = held_out_clips(model, request, progress)
    variants, missing = list_variants(FORMATS, request.measure.device, request.formats)
    if not variants:
        raise UnavailableError(f"nothing can be exported for {request.measure.device}: {missing[0].reason}")
    with open_folder(request.work_dir, comparison_key(request, model, clips)) as work:
        space = require_space(work.path, model, variants)
        with timed(seconds, "export"):
            exported, failed = export_variants(variants, model, request, work.path, progress)
        missing += failed
        if not exported:
            raise CheckFailedError(f"no variant could be exported; {missing[-1].name}: {missing[-1].reason}")
        work.keep |= any(row.kind == "postponed" for row in failed)
        with timed(seconds, "measure"):
            measured = measure(exported, model, clips, request, work.path, progress)
    missing += tuple(_not_measured(measured, exported))
    rows = mark_pareto(tuple(_rows(measured, exported, replace(request, model=options or model))))
    if not rows:
        raise CheckFailedError(f"nothing could be measured; {missing[-1].name}: {missing[-1].reason}")
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
        notes=(*notes, *model.notes, *clips.notes, f"{space} were written", *measured.notes),
        environment=environment(),
        seconds=seconds,
        folder=work.path if work.keep else None,
    )


def check_request(request: DeploymentRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: an option has an invalid value; the message names both.
    """
    measure_request = request.measure
    check_measuring(replace(measure_request, artifacts=(Path("artifact"),)))
    threads = measure_request.threads
    if threads is not None and len(threads) > 1:
        raise UsageError(f"--all measures at one thread count (got --threads {','.join(map(str, threads))})")
    if request.export_seconds is not None and not request.export_seconds > 0:
        raise UsageError(f"--export-seconds must be above 0 (got {request.export_seconds:g})")
    if len(set(request.formats)) != len(request.formats):
        raise UsageError(f"name each format once: {', '.join(request.formats)}")
    check_precision(ExportRequest((), precision=replace(request.precision, compute="int8")))


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
        artifact = load_artifact(request.artifact)
        model, notes = rebuild_network(artifact, request.model, progress)
        options = options and build_options_of(artifact, options)
        if artifact.manifest is not None and request.outputs is None:
            names = tuple(output.name for output in artifact.manifest.signature.outputs)
            request = replace(request, outputs=names)
    if model.without_preprocessing is not None:
        model = model.without_preprocessing
        notes += ("measured without the preprocessing that the artifact has inside; --with-preprocess adds it",)
    return model, options, request, notes


def held_out_clips(model: BuiltModel, request: DeploymentRequest, progress: Progress) -> CalibrationClips:
    """Return the clips that accuracy is measured on."""
    progress("drawing clips")
    options = ParityOptions(clips=request.precision.calibration.clips, input_types=("random", "pixels", "video"))
    inputs = make_network_inputs(model, options)
    values = inputs.select(range(len(inputs.names)))[model.input.name]
    return CalibrationClips(values[:0], values, inputs.names, f"{len(values)} clips", "")


def measure(
    exported: Sequence[ExportedVariant],
    model: BuiltModel,
    clips: CalibrationClips,
    request: DeploymentRequest,
    folder: Path,
    progress: Progress,
) -> Measured:
    """Measure the variants, and the other engines if asked for, in interleaved rounds on the held-out clips.

    The processes of all targets are alive at the same time. Where they would not fit into memory they are measured in
    groups, each with the first target.
    """
    held_out = folder / "held_out.npy"
    with translate_os_errors(folder):
        np.save(held_out, clips.held_out)
    inputs = InputSet.of_rows({model.input.name: clips.held_out}, clips.names)
    golden = GoldenOutputs(NetworkSource(model), inputs, folder / REFERENCE, progress)
    golden.compute(range(len(clips.names)))
    wanted = replace(
        request.measure,
        artifacts=tuple(found.path for found in exported),
        inputs=InputOptions(feeds={model.input.name: held_out}),
        reference=model,
        keep_going=True,
    )
    measured = Measured()

    def inspect(state: TargetState, config: RunConfig) -> None:
        outputs = run_rows(state, config, len(clips.names), folder / "outputs.npz")
        try:
            measured.accuracies[state.target.name] = measure_accuracy(outputs, golden)
        except ValueError as error:
            raise WorkerError("failed", str(error)) from error

    with make_plan(wanted, progress) as plan:
        groups = group_targets(plan.targets, _process_bytes(model), psutil.virtual_memory().available)
        for targets in groups:
            _measure_group(wanted, replace(plan, targets=targets), _threads(request), progress, inspect, measured)
        measured.missing += [(skipped.target, skipped.reason, skipped.added) for skipped in plan.missing]
        measured.notes += plan.notes
    if len(groups) > 1:
        measured.notes.append(
            f"measured in {len(groups)} groups, because {len(plan.targets)} processes at once would not fit into "
            f"memory; {plan.targets[0].name} ran in each"
        )
    return measured


def group_targets(targets: Sequence[BenchTarget], each: float, available: float) -> tuple[tuple[BenchTarget, ...], ...]:
    """Return the targets in groups whose processes fit into memory together; the first target is in every group.

    Args:
        targets: what is measured.
        each: bytes that a process is assumed to take.
        available: bytes that are free.
    """
    room = max(2, int(FREE_MEMORY * available / each))
    if len(targets) <= room:
        return (tuple(targets),)
    first, others = targets[0], targets[1:]
    return tuple((first, *others[start : start + room - 1]) for start in range(0, len(others), room - 1))


def _process_bytes(model: BuiltModel) -> float:
    return WEIGHT_COPIES * BYTES_PER_VALUE * model.parameters + PROCESS_BYTES


def _measure_group(
    request: BenchRequest, plan: BenchPlan, threads: int, progress: Progress, inspect: Inspect, measured: Measured
) -> None:
    """Measure one group, and add what was found; of the first target its first group counts."""
    known = set(measured.speeds)
    run = BenchRun(request, plan, plan.feeds.batches(request.batches), progress, inspect)
    run.measure(threads)
    measured.engines |= {name: info.engine for name, info in run.targets.items() if name not in known}
    measured.loads |= {row.target: row.load for row in run.loadings if row.target not in known}
    for row in run.measurements:
        if row.target not in known:
            speed = BatchSpeed(row.batch, row.median, row.p90, row.throughput, row.memory)
            measured.speeds.setdefault(row.target, []).append(speed)
    measured.missing += [(skipped.target, skipped.reason, skipped.added) for skipped in run.missing]
    measured.notes += [note for note in run.conditions() if note not in measured.notes]


def _rows(
    measured: Measured, exported: Sequence[ExportedVariant], request: DeploymentRequest
) -> Iterator[DeploymentRow]:
    """Yield the rows of what was measured at every batch size; the command of a variant is what a user would type."""
    variants = {found.path.name: found for found in exported}
    failed = {name for name, _, _ in measured.missing}
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
            notes=() if found is None else found.notes,
        )


def _not_measured(measured: Measured, exported: Sequence[ExportedVariant]) -> Iterator[MissingRow]:
    variants = {found.path.name: str(found.variant) for found in exported}
    for target, reason, added in dict.fromkeys(measured.missing):
        kind = "unavailable" if added else "failed"
        yield MissingRow(variants.get(target, target), reason if added else f"while it was measured: {reason}", kind)


def _threads(request: DeploymentRequest) -> int:
    return request.measure.threads[0] if request.measure.threads else available_cpus()
