"""`bench()`: plan, load, run in interleaved rounds, compare."""

import os
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from statistics import median

import numpy as np

from exporter.bench.cpu_load import NOISE, background_load, sample
from exporter.bench.plan import BenchPlan, make_plan
from exporter.bench.roofline import Product, bounds_of, measure_product
from exporter.bench.rounds import (
    MAX_LOAD_S,
    RunConfig,
    TargetState,
    drop_on_error,
    feed,
    load_again,
    run_rounds,
    shuffled,
    start,
    thread_variables,
)
from exporter.bench.statistics import CONFIDENCE, paired_ratio
from exporter.bench.targets import THIS_PYTHON, BenchTarget
from exporter.bench.types import (
    BENCH_ENGINE_NAMES,
    BenchReport,
    BenchRequest,
    Loading,
    Measurement,
    Ratio,
    Roofline,
    Skipped,
    TargetInfo,
)
from exporter.bench.worker_client import Worker, WorkerError, engine_file
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError, UsageError
from exporter.system import available_cpus, environment
from models.progress import Progress, no_progress

SAME = 1e-3
"""Largest relative difference of outputs that rounding explains; half precision and int8 are reported as well."""

METHOD = (
    "each contestant runs in a process of its own; they take turns, one at a time, in another order every round",
    "times are of calls from host memory to host memory, with the inputs drawn once; median, p90 and min are over all "
    "calls",
    "the ratio to the first is the median of the rounds' ratios; its interval inverts the sign test",
    "load: from the file to a model that can be called, median of fresh processes, interpreter and imports not "
    "counted; first answer: with the first call",
    "memory: the process's peak (VmHWM) up to this batch size, less its peak after importing the engine; a file that "
    "is mapped counts",
    "roofline: the fastest float32 matrix product of several sizes in numpy and torch, before and after the rounds; "
    "direct convolution's multiply-adds at that rate are the least time that it takes",
)


def benchmark(request: BenchRequest, progress: Progress = no_progress) -> BenchReport:
    """Measure model files side by side, and other engines on the same network if `request.engines` says so.

    An engine that is absent, crashes or hangs is reported and does not end the run. An artifact that cannot be loaded
    ends it; one that fails later is reported, and the report is not `complete`.

    Args:
        request: everything that decides the benchmark.
        progress: called at each step.

    Raises:
        UsageError: options that are invalid, or that the artifacts do not allow.
        ArtifactError: an artifact cannot be read or loaded, or takes other inputs than the first.
        IntegrityError: an artifact is not the one its manifest describes.
        CheckFailedError: the first artifact failed while the others could go on.
        UnavailableError: an artifact's engine, or the device, is not there.
    """
    check_request(request)
    start = time.monotonic()
    with make_plan(request, progress) as field:
        batches = field.feeds.batches(request.batches)
        run = _Run(request, field, batches, progress)
        for threads in request.threads or (available_cpus(),):
            run.measure(threads)
    return BenchReport(
        first=field.targets[0].name,
        inputs=field.feeds.describe(request.seed),
        unit=field.feeds.unit,
        device=request.device,
        targets=tuple(run.targets.values()),
        measurements=tuple(run.measurements),
        loadings=tuple(run.loadings),
        rooflines=tuple(run.rooflines),
        missing=(*field.missing, *run.missing),
        method=METHOD,
        notes=(*field.notes, *run.notes()),
        environment=environment(),
        seconds=time.monotonic() - start,
    )


def check_request(request: BenchRequest) -> None:
    """Refuse, before any work, options that cannot be honoured.

    Raises:
        UsageError: with the option and its value.
    """
    if not request.artifacts:
        raise UsageError("name an artifact to measure")
    for option, values in (("--batch", request.batches), ("--threads", request.threads)):
        if values is not None and (not values or min(values) < 1 or len(set(values)) < len(values)):
            raise UsageError(f"{option} must be different numbers of at least 1 (got {','.join(map(str, values))})")
    for option, value, least in (
        ("--rounds", request.rounds, 1),
        ("--warmup", request.warmup, 0),
        ("--load-rounds", request.load_rounds, 1),
        ("--seed", request.seed, 0),
    ):
        if value < least:
            raise UsageError(f"{option} must be at least {least} (got {value})")
    if not request.seconds > 0:
        raise UsageError(f"--seconds must be above 0 (got {request.seconds:g})")
    if request.device not in ("cpu", "cuda"):
        raise UsageError(f"--device {request.device}: bench knows cpu and cuda")
    if not request.peers and (request.engine_python or request.plain):
        raise UsageError(
            f"{'--engine-python' if request.engine_python else '--engine-model'} is an option of --engines"
        )
    for name, interpreter in request.engine_python.items():
        if name not in BENCH_ENGINE_NAMES:
            raise UsageError(f"--engine-python {name}: no such peer; known are {', '.join(BENCH_ENGINE_NAMES)}")
        if not (interpreter.is_file() and os.access(interpreter, os.X_OK)):
            raise UsageError(f"--engine-python {name}={interpreter}: no such interpreter; name its bin/python")


class _Run:
    """One benchmark on its way: what has been found so far."""

    def __init__(self, request: BenchRequest, field: BenchPlan, batches: tuple[int, ...], progress: Progress) -> None:
        self.request, self.field, self.batches, self.progress = request, field, batches, progress
        self.targets: dict[str, TargetInfo] = {}
        self.measurements: list[Measurement] = []
        self.loadings: list[Loading] = []
        self.rooflines: list[Roofline] = []
        self.missing: list[Skipped] = []
        self._busy: list[float] = []
        self._shuffle = random.Random(request.seed)  # noqa: S311 - an order of rounds is no secret

    def measure(self, threads: int) -> None:
        """Measure every target at one thread count."""
        course = RunConfig(self.field.feeds, threads, self.batches[0], self.request.seed, self.request.warmup)
        products = self._products(threads)
        with ExitStack() as stack:
            entries = self._load(stack, course)
            for batch in self.batches:
                if entries:
                    self._rounds(entries, course, batch)
        products += self._products(threads)
        if products:
            self.rooflines.append(self._roofline(threads, max(products, key=lambda product: product.rate)))

    def notes(self) -> list[str]:
        """Return what the figures themselves call for."""
        rows = [row for row in self.measurements if row.difference is not None and not row.difference <= SAME]
        worst = {row.target: row.difference for row in rows}
        notes = [
            f"{name} does not answer as {self.field.targets[0].name} does: {share:.1g} of its largest number away; "
            "another network, other weights, or coarser arithmetic"
            for name, share in worst.items()
        ]
        if max(self._busy, default=0.0) > NOISE:
            notes.append(
                f"other processes kept {max(self._busy):.1f} of {os.cpu_count()} cores busy during the rounds: times "
                "are too long, and ratios less sure than they look"
            )
        if any(row.ratio.confidence < CONFIDENCE for row in self.measurements):
            fewest = min(row.rounds for row in self.measurements)
            notes.append(
                f"{fewest} rounds are too few for an interval of {CONFIDENCE:.0%}; --rounds 6 or more, and --seconds"
            )
        return notes

    def _products(self, threads: int) -> list[Product]:
        """Measure matrix products, before and after the rounds, because a roof is the most that was seen."""
        if self.request.device != "cpu":
            return []
        self.progress("measuring matrix products")
        variables = thread_variables(threads)
        return [measure_product(lambda engine: Worker(engine_file(engine), THIS_PYTHON, variables), threads)]

    def _roofline(self, threads: int, fastest: Product) -> Roofline:
        if self.field.plain is None:
            return Roofline(threads, fastest.rate, fastest.name, None, (), ())
        bounds, uncounted = bounds_of(self.field.plain, self.field.feeds, self.batches, fastest.rate)
        files = {contestant.job["path"]: contestant.file for contestant in self.field.targets}
        counted = files.get(str(self.field.plain), str(self.field.plain))
        return Roofline(threads, fastest.rate, fastest.name, counted, bounds, uncounted)

    def _load(self, stack: ExitStack, course: RunConfig) -> list[TargetState]:
        entries: list[TargetState] = []
        gone = {absent.target for absent in self.missing}
        for contestant in self.field.targets:
            if contestant.name in gone:
                continue
            self.progress(f"loading {contestant.name}, threads: {course.threads}")
            try:
                entries.append(start(stack, contestant, course))
            except WorkerError as error:
                self._not_loaded(contestant, error)
        for _ in range(1, self.request.load_rounds):
            for entry in shuffled(entries, self._shuffle):
                if sum(entry.first_answers) < MAX_LOAD_S:
                    self.progress(f"loading {entry.target.name} once more, threads: {course.threads}")
                    with drop_on_error(entries, entry, self._failed):
                        load_again(entry.target, entry, course)
        for entry in entries:
            contestant = entry.target
            self.targets[contestant.name] = TargetInfo(contestant.name, entry.title, contestant.file, contestant.peer)
            self.loadings.append(entry.loading(course.threads))
        return entries

    def _rounds(self, entries: list[TargetState], course: RunConfig, batch: int) -> None:
        where = f"batch {batch}, threads: {course.threads}"
        for entry in list(entries):
            self.progress(f"{where}: warming up {entry.target.name}")
            with drop_on_error(entries, entry, self._failed):
                feed(entry, course, batch)

        def tell(number: int) -> None:
            self.progress(f"{where}: round {number} of {self.request.rounds}")

        processes = [entry.worker.pid for entry in entries]
        before = sample(processes)
        run_rounds(entries, self.request.rounds, self.request.seconds, self._shuffle, self._failed, tell)
        self._busy.append(background_load(before, sample(processes)) or 0.0)
        first = next((entry for entry in entries if entry.target is self.field.targets[0]), None)
        if first is None and not entries:
            return
        if first is None:
            raise CheckFailedError(
                f"{self.field.targets[0].name} failed, and the others are compared with it: {self.missing[-1].reason}"
            )
        self.measurements += [measurement(entry, first, course.threads, batch) for entry in entries]

    def _not_loaded(self, contestant: BenchTarget, error: WorkerError) -> None:
        """Note an engine that does not load; an artifact's own failure ends the benchmark."""
        reason = f"{error}; {contestant.install}" if error.kind == "missing" and contestant.install else str(error)
        if not contestant.peer:
            if error.kind == "missing":
                raise UnavailableError(f"{contestant.file}: {reason}") from error
            raise ArtifactError(f"{contestant.file}: cannot be loaded: {reason}") from error
        self.missing.append(Skipped(contestant.name, reason, peer=True))

    def _failed(self, contestant: BenchTarget, error: WorkerError) -> None:
        self.missing.append(Skipped(contestant.name, str(error), contestant.peer))


def measurement(entry: TargetState, first: TargetState, threads: int, batch: int) -> Measurement:
    """Sum up what one target did at one batch size."""
    calls = np.array(list(chain.from_iterable(entry.turns)))
    middle = float(np.median(calls))
    alone = entry is first
    ratio = Ratio(1.0, 1.0, 1.0, 1.0) if alone else paired_ratio(_rounds_of(entry), _rounds_of(first))
    return Measurement(
        target=entry.target.name,
        batch=batch,
        threads=threads,
        rounds=len(entry.turns),
        calls=calls.size,
        median=middle,
        p90=float(np.quantile(calls, 0.9)),
        minimum=float(calls.min()),
        throughput=batch / middle,
        ratio=ratio,
        memory=entry.memory,
        difference=None if alone else difference(entry.answers, first.answers),
    )


def difference(answers: Sequence[Sequence[float]], first: Sequence[Sequence[float]]) -> float | None:
    """Return the largest distance between two targets' outputs, relative to the first's largest number.

    None where they have different outputs. NaN where either has one.
    """
    if [len(values) for values in answers] != [len(values) for values in first]:
        return None
    ours, theirs = np.array(list(chain.from_iterable(answers))), np.array(list(chain.from_iterable(first)))
    if not theirs.size:
        return None
    away, scale = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    return away / scale if scale else away


def _rounds_of(entry: TargetState) -> list[float]:
    """Return one time for each round: the median of its calls."""
    return [median(turn) for turn in entry.turns]
