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

from exporter.errors import ArtifactError, CheckFailedError, UsageError
from exporter.parity.environment import environment
from exporter.parity.inputs import QUICK, InputBatch, InputPool, draw_clips
from exporter.parity.judge import judge
from exporter.parity.reference import Subject, load_subject, rebuild
from exporter.parity.trials import FULL, Answers, ask
from exporter.parity.truth import NetworkTruth, Truth
from exporter.parity.verify import trial_of
from exporter.selftest.apart import read_apart
from exporter.selftest.bench import Bench, Verdict
from exporter.selftest.faults import FAULTS, Kind, Place
from exporter.selftest.graph import Copy
from exporter.selftest.verdicts import CleanRuns, FaultVerdict, SelfTestOptions, SelfTestReport
from exporter.timing import timed
from exporter.types import ParityOptions, ReferenceOptions
from models.errors import Progress, quiet
from models.spec import NetworkConfig

SCREEN = ("random", "video")
"""What a fault is tried on first."""
CLEAN = ("random", "uniform", "heavy-tailed", "sparse", "saturated", "bright pixel", "pixels")
"""What the sound artifact is run on, drawn anew each time."""
USUAL_RUNS = 14
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder inside it is made by tempfile
"""Linux's file system in memory; writing the weights to a busy disk can take longer than all faults."""
ROOM = 4
"""How many times the artifact's size must be free there."""


@dataclass(frozen=True)
class Fault:
    """One fault to plant: a row of the table, and one of its places."""

    kind: Kind
    place: Place

    def copy(self, bench: Bench, seed: int) -> Copy:
        """Return a copy of the sound graph with the fault in it; what is drawn depends on seed and fault alone."""
        copy = Copy(bench.graph)
        name = zlib.crc32(f"{self.kind.name} {self.place.where}".encode())
        self.place.plant(copy, np.random.default_rng((seed, name)))
        return copy


def self_test(
    artifact: str | Path,
    options: SelfTestOptions | None = None,
    reference: ReferenceOptions | None = None,
    progress: Progress = quiet,
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
    subject = load_subject(Path(artifact))
    if subject.format != "onnx":
        raise UsageError(
            f"{artifact}: faults are planted in ONNX graphs, and this is a {subject.format} file; export the same "
            "network with --format onnx and test the checker on that"
        )
    seconds: dict[str, float] = {}
    with timed(seconds, "truth"):
        progress("building the network")
        built, _ = rebuild(subject, reference or ReferenceOptions())
        pool = draw_clips(built.preprocessing, ParityOptions(seed=options.seed, kinds=QUICK))
        truth = Truth(NetworkTruth(built), pool, progress=progress)
        truth.ensure(range(len(pool.names)))
    with scratch(subject.path) as folder:
        with timed(seconds, "sound"):
            bench, sound = mount(subject, truth, built.config, Path(folder), progress)
        faults = planned(bench, kinds, quick=options.quick)
        with timed(seconds, "faults"):
            found = examine(bench, faults, options, progress)
    with timed(seconds, "clean"):
        usual = 0 if options.quick else USUAL_RUNS
        wanted = usual if options.clean_runs is None else options.clean_runs

        def draw(seed: int, kinds: tuple[str, ...]) -> InputPool:
            return draw_clips(built.preprocessing, ParityOptions(seed=seed, kinds=kinds))

        clean = clean_runs(bench, sound, draw, options.seed, wanted, progress)
    return SelfTestReport(
        artifact=str(subject.path),
        runtime=bench.runtime,
        tolerance=judge(sound, truth, ParityOptions()).tolerance,
        inputs=pool.names,
        kinds=len({fault.kind for fault in found}),
        faults=found,
        clean=clean,
        seconds=seconds,
        environment=environment(),
    )


def scratch(artifact: Path) -> "tempfile.TemporaryDirectory[str]":
    """Return a temporary folder for an artifact's weights and one faulty copy: in memory where there is room."""
    wanted = ROOM * sum(path.stat().st_size for path in artifact.parent.glob(f"{artifact.name}*"))
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > wanted
    return tempfile.TemporaryDirectory(prefix="c3d-self-test-", dir=MEMORY if roomy else None)


def mount(
    subject: Subject, truth: Truth, config: NetworkConfig, folder: Path, progress: Progress = quiet
) -> tuple[Bench, Answers]:
    """Read an artifact apart and run it as it is, which it must pass.

    Args:
        subject: an ONNX file.
        truth: of its network.
        config: the network's.
        folder: an empty one; it takes the weights' size, and the largest tensor's again.
        progress: told at each step.

    Raises:
        CheckFailedError: it does not pass.
        UsageError: its weights have fewer bits than float32.
    """
    trial = trial_of(subject, ParityOptions(), config)
    answers = ask(trial, truth.pool, progress)
    if answers.arithmetic not in FULL:
        raise UsageError(
            f"{subject.path}: the faults are held to float32's budget, and its weights are {answers.arithmetic}"
        )
    if not judge(answers, truth, ParityOptions()).passed:
        raise CheckFailedError(
            f"{subject.path}: does not pass parity as it is, so no fault can be planted in it; see verify parity"
        )
    progress(f"reading {subject.path.name} apart")
    graph = read_apart(subject.path, folder)
    with trial.open(trial.settings) as runtime:
        ports = trial.match(runtime.signature)
    return Bench(graph, trial, ports, truth, answers.runtime), answers


def planned(bench: Bench, kinds: Sequence[Kind] = FAULTS, *, quick: bool = False) -> tuple[Fault, ...]:
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


def examine(
    bench: Bench, faults: Sequence[Fault], options: SelfTestOptions, progress: Progress = quiet
) -> tuple[FaultVerdict, ...]:
    """Plant each fault, and judge."""
    screens = bench.batches(SCREEN), bench.batches([name for name in bench.truth.pool.names if name not in SCREEN])
    told: dict[int, FaultVerdict] = {}
    for screen in screens:
        waiting = [number for number in range(len(faults)) if number not in told or told[number].outcome == "missed"]
        for done, number in enumerate(waiting, start=1):
            fault = faults[number]
            progress(f"fault {done} of {len(waiting)}: {fault.kind.name}, {fault.place.where}")
            told[number] = _tried(bench, fault, screen, options)
    waiting = [number for number, fault in told.items() if fault.outcome == "missed"]
    shares = {number: list[Verdict]() for number in waiting}
    for batch in (*screens[0], *screens[1]):
        for done, number in enumerate(waiting, start=1):
            fault = faults[number]
            progress(f"in float64, {batch.name}, {done} of {len(waiting)}: {fault.kind.name}, {fault.place.where}")
            shares[number].append(bench.verdict(fault.copy(bench, options.seed), [batch], "exact"))
    for number, found in shares.items():
        above = not all(verdict.passed for verdict in found)
        told[number] = replace(
            told[number], outcome="missed" if above else "below", exact_share=max(verdict.share for verdict in found)
        )
    return tuple(told[number] for number in range(len(faults)))


def clean_runs(
    bench: Bench,
    sound: Answers,
    draw: Callable[[int, tuple[str, ...]], InputPool],
    seed: int,
    wanted: int,
    progress: Progress = quiet,
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
        report = judge(answers, truth, ParityOptions())
        runs += len(report.comparisons)
        alarms += [f"{row.input}, {row.output}" for row in report.comparisons if not row.passed]
        worst = max(worst, *(row.share for row in report.comparisons))
        if left <= 0:
            return CleanRuns(runs, tuple(alarms), worst)
        progress(f"clean runs, {left} inputs left")
        pool = draw(next(seeds), CLEAN[:left])
        left -= len(pool.names)
        truth = Truth(bench.truth.source, pool)
        answers = ask(bench.trial, pool)


def _kinds(only: str | None) -> tuple[Kind, ...]:
    kinds = tuple(kind for kind in FAULTS if only is None or only.lower() in kind.name.lower())
    if not kinds:
        raise UsageError(f"--only {only}: no kind of fault has that in its name; docs/parity.md lists them")
    return kinds


def _tried(bench: Bench, fault: Fault, screen: Sequence[InputBatch], options: SelfTestOptions) -> FaultVerdict:
    kind, place = fault.kind, fault.place
    copy = fault.copy(bench, options.seed)
    try:
        verdict = bench.verdict(copy, screen)
    except (ArtifactError, CheckFailedError) as error:
        return FaultVerdict(kind.name, kind.imitates, place.where, "refused", "", 0.0, reason=str(error))
    told = FaultVerdict(
        kind.name,
        kind.imitates,
        place.where,
        "missed" if verdict.passed else "caught",
        verdict.batch.name,
        verdict.share,
    )
    if verdict.passed or not options.localize or place.value is None:
        return told
    located, named = bench.locate(copy, place.value, verdict.batch)
    return replace(told, located=located, named=named)
