"""`self_test()`: inject every fault of the table in an artifact, one at a time, and tell how many the check detects.

A fault is tried on a random and a real clip in one batch. One that passes there is tried on the other inputs of an
export's check, and one that passes these as well is run in float64 on all of them: if the check passes that too, the
fault is below what float32 can show; if not, the check missed it.
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
from exporter.fault_injection.harness import Harness, RunOutcome
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
"""What the original artifact is run on, drawn anew each time."""
USUAL_RUNS = 14
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - the folder inside it is made by tempfile
"""Linux's file system in memory; writing the weights to a busy disk can take longer than all faults."""
FREE_SPACE_FACTOR = 4
"""How many times the artifact's size must be free there."""


@dataclass(frozen=True)
class Fault:
    """One fault to plant: a row of the table, and one of its places."""

    fault_type: FaultType
    site: FaultSite

    def copy(self, harness: Harness, seed: int) -> FaultyGraph:
        """Return a copy of the original graph with the fault in it; what is drawn depends on seed and fault alone."""
        copy = FaultyGraph(harness.graph)
        name = zlib.crc32(f"{self.fault_type.name} {self.site.where}".encode())
        self.site.inject(copy, np.random.default_rng((seed, name)))
        return copy


def self_test(
    artifact: str | Path,
    options: SelfTestOptions | None = None,
    reference: BuildOptions | None = None,
    progress: Progress = no_progress,
) -> SelfTestReport:
    """Test the check on one ONNX artifact.

    Args:
        artifact: an ONNX file of this project, or another C3D's with `reference.weights`.
        options: which faults, and what else is wanted.
        reference: the checkpoint, where the manifest does not say.
        progress: called at each step.

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
            f"{artifact}: faults are injected into ONNX graphs, and this is a {subject.format} file; export the same "
            "network with --format onnx and test the check on that"
        )
    seconds: dict[str, float] = {}
    with timed(seconds, "reference"):
        progress("building the network")
        built, _ = rebuild_network(subject, reference or BuildOptions())
        pool = make_network_inputs(built, ParityOptions(seed=options.seed, input_types=QUICK))
        golden = GoldenOutputs(NetworkSource(built), pool, progress=progress)
        golden.compute(range(len(pool.names)))
    with temp_dir(subject.path) as folder:
        with timed(seconds, "original"):
            harness, original = set_up(subject, golden, built, Path(folder), progress)
        faults = list_faults(harness, kinds, quick=options.quick)
        with timed(seconds, "faults"):
            found = run_faults(harness, faults, options, progress)
    with timed(seconds, "clean"):
        usual = 0 if options.quick else USUAL_RUNS
        wanted = usual if options.clean_runs is None else options.clean_runs

        def draw(seed: int, kinds: tuple[str, ...]) -> InputSet:
            return make_network_inputs(built, ParityOptions(seed=seed, input_types=kinds))

        clean = clean_runs(harness, original, draw, options.seed, wanted, progress)
    return SelfTestReport(
        artifact=str(subject.path),
        runtime=harness.runtime,
        tolerance=evaluate(original, golden, ParityOptions()).tolerance,
        inputs=pool.names,
        fault_types=len({fault.kind for fault in found}),
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
    subject: LoadedArtifact, golden: GoldenOutputs, model: BuiltModel, folder: Path, progress: Progress = no_progress
) -> tuple[Harness, RunResult]:
    """Split an artifact into graph and weights, and run it unmodified, which must pass.

    Args:
        subject: an ONNX file.
        golden: the outputs of its network.
        model: the network.
        folder: an empty one; it takes the weights' size, and the largest tensor's again.
        progress: called at each step.

    Raises:
        CheckFailedError: it does not pass.
        UsageError: its weights have fewer bits than float32.
    """
    spec = make_run_spec(subject, ParityOptions(), model)
    outputs = run_model(spec, golden.inputs, progress)
    if outputs.precision not in FULL_PRECISION:
        raise UsageError(
            f"{subject.path}: faults are compared with float32's error budget, but its weights are {outputs.precision}"
        )
    golden.compute(row for batch, _ in outputs.batches for row in batch.rows)
    if not evaluate(outputs, golden, ParityOptions()).passed:
        raise CheckFailedError(
            f"{subject.path}: does not pass parity unmodified, so a fault would prove nothing; see verify parity"
        )
    progress(f"splitting {subject.path.name}")
    graph = split_model(subject.path, folder)
    with spec.open(spec.settings) as runtime:
        io_mapping = spec.map_io(runtime.signature)
    return Harness(graph, spec, io_mapping, golden, outputs.engine), outputs


def list_faults(harness: Harness, kinds: Sequence[FaultType] = FAULTS, *, quick: bool = False) -> tuple[Fault, ...]:
    """List the faults to inject.

    Args:
        harness: with the artifact.
        kinds: rows of the table.
        quick: one position per fault type, another one from row to row.
    """
    faults: list[Fault] = []
    for number, kind in enumerate(kinds):
        places = list(kind.find_sites(harness.graph))
        if quick and places:
            places = [places[-1 - number % len(places)]]
        faults += [Fault(kind, place) for place in places]
    return tuple(faults)


def run_faults(
    harness: Harness, faults: Sequence[Fault], options: SelfTestOptions, progress: Progress = no_progress
) -> tuple[FaultResult, ...]:
    """Plant each fault, and judge."""
    screens = (
        harness.batches(FAST_INPUTS),
        harness.batches([name for name in harness.golden.inputs.names if name not in FAST_INPUTS]),
    )
    reported: dict[int, FaultResult] = {}
    for screen in screens:
        waiting = [
            number
            for number in range(len(faults))
            if number not in reported or reported[number].outcome == "undetected"
        ]
        for done, number in enumerate(waiting, start=1):
            fault = faults[number]
            progress(f"fault {done} of {len(waiting)}: {fault.fault_type.name}, {fault.site.where}")
            reported[number] = _run_fault(harness, fault, screen, options)
    waiting = [number for number, fault in reported.items() if fault.outcome == "undetected"]
    shares = {number: list[RunOutcome]() for number in waiting}
    for batch in (*screens[0], *screens[1]):
        for done, number in enumerate(waiting, start=1):
            fault = faults[number]
            progress(f"in float64, {batch.name}, {done} of {len(waiting)}: {fault.fault_type.name}, {fault.site.where}")
            shares[number].append(harness.run(fault.copy(harness, options.seed), [batch], "float64"))
    for number, found in shares.items():
        above = not all(outcome.passed for outcome in found)
        reported[number] = replace(
            reported[number],
            outcome="undetected" if above else "below_tolerance",
            float64_budget_used=max(outcome.budget_used for outcome in found),
        )
    return tuple(reported[number] for number in range(len(faults)))


def clean_runs(
    harness: Harness,
    original: RunResult,
    draw: Callable[[int, tuple[str, ...]], InputSet],
    seed: int,
    wanted: int,
    progress: Progress = no_progress,
) -> CleanRuns:
    """Check the original artifact on the inputs that it was run on already, and on further ones.

    Args:
        harness: with the artifact.
        original: its outputs.
        draw: (seed, input types) -> one input of each.
        seed: further inputs are drawn from the seeds after it.
        wanted: how many further inputs.
        progress: called at each step.
    """
    runs, false_positives, worst = 0, list[str](), 0.0
    left, seeds, outputs, golden = wanted, count(seed + 1), original, harness.golden
    while True:
        report = evaluate(outputs, golden, ParityOptions())
        runs += len(report.comparisons)
        false_positives += [f"{row.input}, {row.output}" for row in report.comparisons if not row.passed]
        worst = max(worst, *(row.budget_used for row in report.comparisons))
        if left <= 0:
            return CleanRuns(runs, tuple(false_positives), worst)
        progress(f"clean runs, {left} inputs left")
        pool = draw(next(seeds), CLEAN_INPUTS[:left])
        left -= len(pool.names)
        golden = GoldenOutputs(harness.golden.source, pool)
        outputs = run_model(harness.spec, pool)
        golden.compute(range(len(pool.names)))


def _kinds(only: str | None) -> tuple[FaultType, ...]:
    kinds = tuple(kind for kind in FAULTS if only is None or only.lower() in kind.name.lower())
    if not kinds:
        raise UsageError(f"--only {only}: no kind of fault has that in its name; docs/reference/parity.md lists them")
    return kinds


def _run_fault(harness: Harness, fault: Fault, screen: Sequence[InputBatch], options: SelfTestOptions) -> FaultResult:
    fault_type, site = fault.fault_type, fault.site
    copy = fault.copy(harness, options.seed)
    try:
        outcome = harness.run(copy, screen)
    except (ArtifactError, CheckFailedError) as error:
        return FaultResult(fault_type.name, fault_type.cause, site.where, "invalid", "", 0.0, reason=str(error))
    reported = FaultResult(
        fault_type.name,
        fault_type.cause,
        site.where,
        "undetected" if outcome.passed else "detected",
        outcome.batch.name,
        outcome.budget_used,
    )
    if outcome.passed or not options.localize or site.value is None:
        return reported
    located, named = harness.localize(copy, site.value, outcome.batch)
    return replace(reported, located=located, named=named)
