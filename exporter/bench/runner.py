"""Runs a benchmark plan: loads the targets, runs the rounds, and summarises what was measured."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from statistics import median

import numpy as np

from exporter.bench.plan import BenchPlan
from exporter.bench.roofline import Product, find_bounds, measure_product, product_worker
from exporter.bench.rounds import (
    MAX_LOAD_S,
    RunConfig,
    TargetState,
    drop_on_error,
    feed,
    load_again,
    run_rounds,
    start,
)
from exporter.bench.statistics import CONFIDENCE, paired_ratio
from exporter.bench.targets import BenchTarget
from exporter.bench.types import (
    BenchRequest,
    Loading,
    Measurement,
    Ratio,
    Roofline,
    Skipped,
    TargetInfo,
)
from exporter.bench.worker_client import Worker, WorkerError
from exporter.cpu_load import NOISE, background_load, sample
from exporter.errors import ArtifactError, CheckFailedError, LimitError, UnavailableError
from exporter.memory_errors import is_out_of_memory
from exporter.timing import RoundOptions, interleave
from models.progress import Progress

COOLDOWN_S = 0.02
"""Seconds before each target's run in a round: thread pools spin a little after their last call."""
MIN_ROUNDS = 3
SAME = 1e-3
"""Largest relative difference of outputs that rounding explains; half precision and int8 are reported as well."""

Inspect = Callable[[TargetState, RunConfig], None]
"""Called once with each target that is loaded and has its inputs; a `WorkerError` takes the target out."""


@dataclass
class BenchRun:
    """A running benchmark: its plan, and what has been measured so far.

    Attributes:
        request: how to measure.
        plan: what is measured.
        batches: the batch sizes.
        progress: called at each step.
        inspect: called with each loaded target; None for nothing more than times.
        targets: {name: a target that ran}.
        measurements, loadings, rooflines: as in `BenchReport`.
        missing: targets that did not run to the end.
    """

    request: BenchRequest
    plan: BenchPlan
    batches: tuple[int, ...]
    progress: Progress
    inspect: Inspect | None = None
    targets: dict[str, TargetInfo] = field(default_factory=dict[str, TargetInfo])
    measurements: list[Measurement] = field(default_factory=list[Measurement])
    loadings: list[Loading] = field(default_factory=list[Loading])
    rooflines: list[Roofline] = field(default_factory=list[Roofline])
    missing: list[Skipped] = field(default_factory=list[Skipped])
    _busy: list[float] = field(default_factory=list[float])

    def measure(self, threads: int) -> None:
        """Measure every target at one thread count."""
        config = RunConfig(self.plan.feeds, threads, self.batches[0], self.request.seed, self.request.warmup)
        with ExitStack() as around:
            on_cpu = self.request.device == "cpu"
            worker = around.enter_context(product_worker(threads)) if on_cpu else None
            products = self._products(worker, threads)
            with ExitStack() as stack:
                states = self._load(stack, config)
                for batch in self.batches:
                    if states:
                        self._rounds(states, config, batch)
            products += self._products(worker, threads)
        if products:
            self.rooflines.append(self._roofline(threads, max(products, key=lambda product: product.rate)))

    def notes(self) -> list[str]:
        """Return what the figures themselves call for."""
        rows = [row for row in self.measurements if row.difference is not None and not row.difference <= SAME]
        worst = {row.target: row.difference for row in rows}
        notes = [
            f"{name} does not return the same outputs as {self.plan.targets[0].name} does: they differ by "
            f"{difference:.1g} of the largest; another network, other weights, or coarser arithmetic"
            for name, difference in worst.items()
        ]
        first = self.plan.targets[0].name
        if any(absent.target == first for absent in self.missing):
            notes.append(f"{first} did not run to the end: where it is missing, ratios are to the first that ran")
        return [*notes, *self.conditions()]

    def conditions(self) -> list[str]:
        """Return what a reader must know of the machine and the rounds."""
        notes: list[str] = []
        if max(self._busy, default=0.0) > NOISE:
            notes.append(
                f"other processes kept {max(self._busy):.1f} of {os.cpu_count()} cores busy during the rounds: times "
                "are too long, and ratios less certain"
            )
        if any(row.ratio.confidence < CONFIDENCE for row in self.measurements):
            fewest = min(row.rounds for row in self.measurements)
            notes.append(
                f"{fewest} rounds are too few for an interval of {CONFIDENCE:.0%}; more --rounds and --seconds make one"
            )
        return notes

    def _products(self, worker: Worker | None, threads: int) -> list[Product]:
        """Measure matrix products, before and after the rounds, because a roof is the most that was seen."""
        if worker is None:
            return []
        self.progress("measuring matrix products")
        return [measure_product(worker, threads)]

    def _roofline(self, threads: int, fastest: Product) -> Roofline:
        if self.plan.plain is None:
            return Roofline(threads, fastest.rate, fastest.name, None, (), ())
        bounds, uncounted = find_bounds(self.plan.plain, self.plan.feeds, self.batches, fastest.rate)
        files = {target.path: target.file for target in self.plan.targets}
        counted = files.get(self.plan.plain, str(self.plan.plain))
        return Roofline(threads, fastest.rate, fastest.name, counted, bounds, uncounted)

    def _load(self, stack: ExitStack, config: RunConfig) -> list[TargetState]:
        states: list[TargetState] = []
        gone = {absent.target for absent in self.missing}
        for target in self.plan.targets:
            if target.name in gone:
                continue
            self.progress(f"loading {target.name}, threads: {config.threads}")
            try:
                states.append(start(stack, target, config))
            except WorkerError as error:
                self._not_loaded(target, error)
        again = RoundOptions(self.request.load_rounds - 1, self.request.load_rounds - 1, cooldown_s=0)
        for _, state in interleave(states, again):
            if sum(state.first_outputs) < MAX_LOAD_S:
                self.progress(f"loading {state.target.name} once more, threads: {config.threads}")
                with drop_on_error(states, state, self._failed):
                    load_again(state.target, state, config)
        for state in states:
            target = state.target
            self.targets[target.name] = TargetInfo(target.name, state.engine, target.file, target.added)
            self.loadings.append(state.loading(config.threads))
        return states

    def _rounds(self, states: list[TargetState], config: RunConfig, batch: int) -> None:
        where = f"batch {batch}, threads: {config.threads}"
        for state in list(states):
            self.progress(f"{where}: warming up {state.target.name}")
            with drop_on_error(states, state, self._failed):
                feed(state, config, batch)
                if self.inspect is not None and batch == config.first_batch:
                    self.progress(f"{where}: accuracy of {state.target.name}")
                    self.inspect(state, config)

        processes = [state.worker.pid for state in states]
        before = sample(processes)
        options = RoundOptions(
            MIN_ROUNDS, self.request.rounds, self.request.seconds, cooldown_s=COOLDOWN_S, seed=self.request.seed
        )
        run_rounds(states, options, self._failed, lambda text: self.progress(f"{where}: {text}"))
        self._busy.append(background_load(before, sample(processes)) or 0.0)
        first = next((state for state in states if state.target is self.plan.targets[0]), None)
        if not states:
            return
        if first is None and self.request.keep_going:
            first = states[0]
        if first is None:
            last = self.missing[-1]
            kind = LimitError if last.exit_code == LimitError.exit_code else CheckFailedError
            raise kind(f"{self.plan.targets[0].name} failed, and the others are compared with it: {last.reason}")
        self.measurements += [measurement(state, first, config.threads, batch) for state in states]

    def _not_loaded(self, target: BenchTarget, error: WorkerError) -> None:
        """Note an engine that does not load; an artifact's own failure ends the benchmark unless it is to go on."""
        reason = str(error)
        if target.added:
            self.missing.append(Skipped(target.name, reason, added=True))
            return
        kind = UnavailableError if error.kind == "missing" else ArtifactError
        if not self.request.keep_going:
            doing = "" if error.kind == "missing" else "cannot be loaded: "
            raise kind(f"{target.file}: {doing}{reason}") from error
        code = LimitError.exit_code if is_out_of_memory(error) else kind.exit_code
        self.missing.append(Skipped(target.name, reason, added=False, exit_code=code))

    def _failed(self, target: BenchTarget, error: WorkerError) -> None:
        kind = LimitError if is_out_of_memory(error) else CheckFailedError
        self.missing.append(Skipped(target.name, str(error), target.added, kind.exit_code))


def measurement(state: TargetState, first: TargetState, threads: int, batch: int) -> Measurement:
    """Summarise one target at one batch size."""
    calls = np.array(list(chain.from_iterable(state.rounds)))
    middle = float(np.median(calls))
    alone = state is first
    ratio = Ratio(1.0, 1.0, 1.0, 1.0) if alone else paired_ratio(_median_times(state), _median_times(first))
    return Measurement(
        target=state.target.name,
        batch=batch,
        threads=threads,
        rounds=len(state.rounds),
        calls=calls.size,
        median=middle,
        p90=float(np.quantile(calls, 0.9)),
        minimum=float(calls.min()),
        throughput=batch / middle,
        ratio=ratio,
        memory=state.memory,
        difference=None if alone else difference(state.outputs, first.outputs),
    )


def difference(outputs: Sequence[Sequence[float]], first: Sequence[Sequence[float]]) -> float | None:
    """Return the largest distance between two targets' outputs, relative to the first's largest number.

    None where they have different outputs. NaN where either has one.
    """
    if [len(values) for values in outputs] != [len(values) for values in first]:
        return None
    ours, theirs = np.array(list(chain.from_iterable(outputs))), np.array(list(chain.from_iterable(first)))
    if not theirs.size:
        return None
    away, scale = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    return away / scale if scale else away


def _median_times(state: TargetState) -> list[float]:
    """Return one time for each round: the median of its calls."""
    return [median(calls) for calls in state.rounds]
