"""Measuring the exports of `bench --all`, and other engines, in interleaved rounds on the held-out clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil

from exporter.bench.deployment.accuracy import Accuracy, measure_accuracy
from exporter.bench.deployment.types import BYTES_PER_VALUE, BatchSpeed, ExportedVariant
from exporter.bench.plan import BenchPlan, make_plan
from exporter.bench.rounds import RunConfig, TargetState, run_rows
from exporter.bench.runner import BenchRun, Inspect
from exporter.bench.targets import BenchTarget
from exporter.bench.types import BenchRequest, Skipped
from exporter.bench.worker_client import WorkerError
from exporter.calibration_clips import CalibrationClips
from exporter.parity.golden import GoldenOutputs, require_cache
from exporter.parity.input_set import InputSet
from exporter.parity.sources import NetworkSource
from exporter.storage import translate_os_errors
from exporter.system import available_cpus
from exporter.types import InputOptions
from models.built_model import BuiltModel
from models.progress import Progress

REFERENCE = "reference"
"""The folder of the float64 reference outputs, which all variants share."""
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
    missing: list[Skipped] = field(default_factory=list[Skipped])
    notes: list[str] = field(default_factory=list[str])


def measure(
    exported: Sequence[ExportedVariant],
    model: BuiltModel,
    clips: CalibrationClips,
    request: BenchRequest,
    folder: Path,
    progress: Progress,
) -> Measured:
    """Measure the variants, and the other engines if asked for, in interleaved rounds on the held-out clips.

    The processes of all targets are alive at the same time. Where they would not fit into memory they are measured in
    groups, each with the first target.

    Args:
        exported: the variants.
        model: the network.
        clips: whose held-out clips are the inputs.
        request: how to measure; its artifacts, inputs and reference are not used.
        folder: for the clips and the float64 reference.
        progress: called at each step.

    Raises:
        OutputError: the folder cannot be written to.
    """
    held_out = folder / "held_out.npy"
    with translate_os_errors(folder):
        np.save(held_out, clips.held_out)
    golden = _compute_reference(model, clips, folder, progress)
    wanted = _make_request(request, exported, model, held_out)
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
            _measure_group(
                wanted,
                replace(plan, targets=targets),
                request.threads[0] if request.threads else available_cpus(),
                progress,
                inspect,
                measured,
            )
        measured.missing += plan.missing
        measured.notes += plan.notes
    if len(groups) > 1:
        measured.notes.append(
            f"measured in {len(groups)} groups, because {len(plan.targets)} processes at once would not fit into "
            f"memory; {plan.targets[0].name} ran in each"
        )
    return measured


def _make_request(
    request: BenchRequest, exported: Sequence[ExportedVariant], model: BuiltModel, held_out: Path
) -> BenchRequest:
    """Return the request of a benchmark of the variants on the held-out clips."""
    return replace(
        request,
        artifacts=tuple(found.path for found in exported),
        inputs=InputOptions(feeds={model.input.name: held_out}),
        reference=model,
        keep_going=True,
        verify_keys=(),  # these two are for the artifact that the network is taken from
        expect_sha256=None,
    )


def _compute_reference(model: BuiltModel, clips: CalibrationClips, folder: Path, progress: Progress) -> GoldenOutputs:
    require_cache(folder / REFERENCE)
    inputs = InputSet.of_rows({model.input.name: clips.held_out}, clips.names)
    golden = GoldenOutputs(NetworkSource(model), inputs, folder / REFERENCE, progress)
    golden.compute(range(len(clips.names)))
    return golden


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
    measured.missing += run.missing
    measured.notes += [note for note in run.conditions() if note not in measured.notes]
