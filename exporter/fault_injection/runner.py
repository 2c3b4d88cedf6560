"""`self_test()`: plant every fault of the table in an artifact, one at a time, and tell how many the checker catches.

A fault is tried on a random and a real clip in one batch. One that passes there is tried on the other inputs of an
export's check, and one that passes these as well is run in float64 on all of them: if the judge passes that too, the
fault is below what float32 can show; if not, the checker missed it.
"""

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from exporter.artifacts.loading import LoadedArtifact, rebuild_network
from exporter.errors import ArtifactError, CheckFailedError, UsageError
from exporter.fault_injection.faults import FAULTS, FaultSite, FaultType
from exporter.fault_injection.graph import FaultyGraph
from exporter.fault_injection.harness import Harness, Verdict
from exporter.fault_injection.results import CleanRuns, FaultResult, SelfTestOptions, SelfTestReport
from exporter.fault_injection.split import split_model
from exporter.formats import load_artifact
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import FULL_PRECISION, RunResult, run_model
from exporter.parity.golden import GoldenOutputs, NetworkSource
from exporter.parity.inputs import InputBatch, InputSet, make_network_inputs
from exporter.parity.run_specs import make_run_spec
from exporter.system import environment
from exporter.timing import timed
from exporter.types import QUICK, ParityOptions
from models.built_model import BuiltModel
from models.options import BuildOptions
from models.progress import Progress, no_progress

FAST_INPUTS = ("random", "video")
"""What a fault is tried on first."""
CLEAN_INPUTS = ("random", "uniform", "heavy-tailed", "sparse", "saturated", "impulse", "pixels")
"""What the sound artifact is run on, drawn anew each time."""
USUAL_RUNS = 14
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - the folder inside it is made by tempfile
"""Linux's file system in memory; writing the weights to a busy disk can take longer than all faults."""
FREE_SPACE_FACTOR = 4
"""How many times the artifact's size must be free there."""


@dataclass(frozen=True)
class Fault:
    """One fault to plant: a row of the table, and one of its places."""

    kind: FaultType
    place: FaultSite

    def copy(self, bench: Harness, seed: int) -> FaultyGraph:
        """Return a copy of the sound graph with the fault in it; what is drawn depends on seed and fault alone."""
        copy = FaultyGraph(bench.graph)
        name = zlib.crc32(f"{self.kind.name} {self.place.where}".encode())
        self.place.inject(copy, np.random.default_rng((seed, name)))
        return copy


def self_test(
    artifact: str | Path,
    options: SelfTestOptions | None = None,
    reference: BuildOptions | None = None,
    progress: Progress = no_progress,
) -> SelfTestReport:
    """Test the checker on one ONNX artifact.

    Args:
        artifact: an ONNX file of this project, or another C3D's with `reference.weights`.
        options: which faults, and what else is wanted.
        reference: the checkpoint, where the manifest does not say.
        progress: told at each step.

    Raises:
        ArtifactError: the artifact is bad.
        IntegrityError: it is not the file that its manifest describes.
        CheckFailedError: it does not pass parity itself, so nothing can be learned from it.
        UsageError: it is not ONNX, its weights have few bits, or no kind of fault has the name asked for.
    """
    options = options or SelfTestOptions()
    kinds = _kinds(options.only)
    subject = load_artifact(Path(artifact))
    if subject.format != "onnx":
        raise UsageError(
            f"{artifact}: faults are planted in ONNX graphs, and this is a {subject.format} file; export the same "
            "network with --format onnx and test the checker on that"
        )
    seconds: dict[str, float] = {}
    with timed(seconds, "truth"):
        progress("building the network")
        built, _ = rebuild_network(subject, reference or BuildOptions())
        pool = make_network_inputs(built, ParityOptions(seed=options.seed, input_types=QUICK))
        truth = GoldenOutputs(NetworkSource(built), pool, progress=progress)
        truth.compute(range(len(pool.names)))
    with temp_dir(subject.path) as folder:
        with timed(seconds, "sound"):
            bench, sound = set_up(subject, truth, built, Path(folder), progress)
        faults = list_faults(bench, kinds, quick=options.quick)
        with timed(seconds, "faults"):
            found = run_faults(bench, faults, options, progress)
    with timed(seconds, "clean"):
        usual = 0 if options.quick else USUAL_RUNS
        wanted = usual if options.clean_runs is None else options.clean_runs

        def draw(seed: int, kinds: tuple[str, ...]) -> InputSet:
            return make_network_inputs(built, ParityOptions(seed=seed, input_types=kinds))

        clean = clean_runs(bench, sound, draw, options.seed, wanted, progress)
    return SelfTestReport(
        artifact=str(subject.path),
        runtime=bench.runtime,
        tolerance=evaluate(sound, truth, ParityOptions()).tolerance,
        inputs=pool.names,
        kinds=len({fault.kind for fault in found}),
        faults=found,
        clean=clean,
        seconds=seconds,
        environment=environment(),
    )


def temp_dir(artifact: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder for an artifact's weights and one faulty copy: in memory where there is room."""
    wanted = FREE_SPACE_FACTOR * sum(path.stat().st_size for path in artifact.parent.glob(f"{artifact.name}*"))
    roomy = (
        MEMORY_FOLDER.is_dir() and os.access(MEMORY_FOLDER, os.W_OK) and shutil.disk_usage(MEMORY_FOLDER).free > wanted
    )
    return tempfile.TemporaryDirectory(prefix="c3d-self-test-", dir=MEMORY_FOLDER if roomy else None)


def set_up(
    subject: LoadedArtifact, truth: GoldenOutputs, model: BuiltModel, folder: Path, progress: Progress = no_progress
) -> tuple[Harness, RunResult]:
    """Read an artifact apart and run it as it is, which it must pass.

    Args:
        subject: an ONNX file.
        truth: of its network.
        model: the network.
        folder: an empty one; it takes the weights' size, and the largest tensor's again.
        progress: told at each step.

    Raises:
        CheckFailedError: it does not pass.
        UsageError: its weights have fewer bits than float32.
    """
    trial = make_run_spec(subject, ParityOptions(), model)
    answers = run_model(trial, truth.inputs, progress)
    if answers.precision not in FULL_PRECISION:
        raise UsageError(
            f"{subject.path}: the faults are held to float32's budget, and its weights are {answers.precision}"
        )
    truth.compute(row for batch, _ in answers.batches for row in batch.rows)
    if not evaluate(answers, truth, ParityOptions()).passed:
        raise CheckFailedError(
            f"{subject.path}: does not pass parity as it is, so no fault can be planted in it; see verify parity"
        )
    progress(f"reading {subject.path.name} apart")
    graph = split_model(subject.path, folder)
    with trial.open(trial.settings) as runtime:
        ports = trial.map_io(runtime.signature)
    return Harness(graph, trial, ports, truth, answers.engine), answers


def list_faults(bench: Harness, kinds: Sequence[FaultType] = FAULTS, *, quick: bool = False) -> tuple[Fault, ...]:
    """List the faults to plant.

    Args:
        bench: with the artifact.
        kinds: rows of the table.
        quick: one place of each kind, another one from row to row.
    """
    faults: list[Fault] = []
    for number, kind in enumerate(kinds):
        places = list(kind.places(bench.graph))
        if quick and places:
            places = [places[-1 - number % len(places)]]
        faults += [Fault(kind, place) for place in places]
    return tuple(faults)


def run_faults(
    bench: Harness, faults: Sequence[Fault], options: SelfTestOptions, progress: Progress = no_progress
) -> tuple[FaultResult, ...]:
    """Plant each fault, and judge."""
    screens = (
        bench.batches(FAST_INPUTS),
        bench.batches([name for name in bench.truth.inputs.names if name not in FAST_INPUTS]),
    )
    reported: dict[int, FaultResult] = {}
    for screen in screens:
        waiting = [
            number for number in range(len(faults)) if number not in reported or reported[number].outcome == "missed"
        ]
        for done, number in enumerate(waiting, start=1):
            fault = faults[number]
            progress(f"fault {done} of {len(waiting)}: {fault.kind.name}, {fault.place.where}")
            reported[number] = _run_fault(bench, fault, screen, options)
    waiting = [number for number, fault in reported.items() if fault.outcome == "missed"]
    shares = {number: list[Verdict]() for number in waiting}
    for batch in (*screens[0], *screens[1]):
        for done, number in enumerate(waiting, start=1):
            fault = faults[number]
            progress(f"in float64, {batch.name}, {done} of {len(waiting)}: {fault.kind.name}, {fault.place.where}")
            shares[number].append(bench.verdict(fault.copy(bench, options.seed), [batch], "float64"))
    for number, found in shares.items():
        above = not all(verdict.passed for verdict in found)
        reported[number] = replace(
            reported[number],
            outcome="missed" if above else "below",
            exact_share=max(verdict.budget_used for verdict in found),
        )
    return tuple(reported[number] for number in range(len(faults)))


def clean_runs(
    bench: Harness,
    sound: RunResult,
    draw: Callable[[int, tuple[str, ...]], InputSet],
    seed: int,
    wanted: int,
    progress: Progress = no_progress,
) -> CleanRuns:
    """Judge the sound artifact on what it was run on already, and on further inputs.

    Args:
        bench: with the artifact.
        sound: its answers to the pool.
        draw: (seed, kinds) -> one input of each kind.
        seed: further inputs are drawn from the seeds after it.
        wanted: how many further inputs.
        progress: told at each step.
    """
    runs, alarms, worst = 0, list[str](), 0.0
    left, seeds, answers, truth = wanted, count(seed + 1), sound, bench.truth
    while True:
        report = evaluate(answers, truth, ParityOptions())
        runs += len(report.comparisons)
        alarms += [f"{row.input}, {row.output}" for row in report.comparisons if not row.passed]
        worst = max(worst, *(row.budget_used for row in report.comparisons))
        if left <= 0:
            return CleanRuns(runs, tuple(alarms), worst)
        progress(f"clean runs, {left} inputs left")
        pool = draw(next(seeds), CLEAN_INPUTS[:left])
        left -= len(pool.names)
        truth = GoldenOutputs(bench.truth.source, pool)
        answers = run_model(bench.trial, pool)
        truth.compute(range(len(pool.names)))


def _kinds(only: str | None) -> tuple[FaultType, ...]:
    kinds = tuple(kind for kind in FAULTS if only is None or only.lower() in kind.name.lower())
    if not kinds:
        raise UsageError(f"--only {only}: no kind of fault has that in its name; docs/reference/parity.md lists them")
    return kinds


def _run_fault(bench: Harness, fault: Fault, screen: Sequence[InputBatch], options: SelfTestOptions) -> FaultResult:
    kind, place = fault.kind, fault.place
    copy = fault.copy(bench, options.seed)
    try:
        verdict = bench.verdict(copy, screen)
    except (ArtifactError, CheckFailedError) as error:
        return FaultResult(kind.name, kind.cause, place.where, "refused", "", 0.0, reason=str(error))
    reported = FaultResult(
        kind.name,
        kind.cause,
        place.where,
        "missed" if verdict.passed else "caught",
        verdict.batch.name,
        verdict.budget_used,
    )
    if verdict.passed or not options.localize or place.value is None:
        return reported
    located, named = bench.locate(copy, place.value, verdict.batch)
    return replace(reported, located=located, named=named)
