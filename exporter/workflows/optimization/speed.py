"""Whether a rewritten model is faster than its original here: both in onnxruntime, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

from exporter.bench.statistics import paired_ratio
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.errors import C3DExportError, OutOfMemoryError
from exporter.timing import RoundOptions, interleave
from models.progress import Progress, no_progress
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = dict[str, NDArray[Any]]

MIN_SPEEDUP = 1.02
"""The rewritten model must be this many times as fast to be kept: less is within the noise of a machine."""
MIN_VISIT_S = 0.02
"""Seconds for which a model is called in each round, at least once."""
SLOW_S, VERY_SLOW_S = 6.0, 20.0
"""If calling both models in a round takes more seconds than these, there are fewer rounds."""
ROUNDS, BUDGET_S = 25, 10.0
"""Rounds at most, and seconds after which no further one starts."""
DECIDED_ROUNDS = 6
"""After this many rounds an interval of 95 % can be given, and measuring ends once it decides."""
LARGE_BYTES = 1 << 30
"""With more bytes of weights, only one model is in memory at a time, and is loaded again for each round."""


@dataclass(frozen=True)
class Speed:
    """How many times as fast the rewritten model is as the original.

    Attributes:
        speedup: the median of the rounds' ratios; above 1 is faster.
        low: lower end of its 95 % interval; of all ratios, where there were fewer than six rounds.
        high: upper end.
        original_ms: the original's median time.
        rewritten_ms: the rewritten model's.
        rounds: how many.
    """

    speedup: float
    low: float
    high: float
    original_ms: float
    rewritten_ms: float
    rounds: int

    @property
    def faster(self) -> bool:
        """Whether it is faster by more than the noise."""
        return self.speedup >= MIN_SPEEDUP

    def __str__(self) -> str:
        """Return `1.62 times as fast (median of 9 rounds, interval 1.58 to 1.66; 120 ms before, 74.1 ms now)`."""
        return (
            f"{self.speedup:.2f} times as fast (median of {self.rounds} rounds, interval {self.low:.2f} to "
            f"{self.high:.2f}; {_format_ms(self.original_ms)} before, {_format_ms(self.rewritten_ms)} now)"
        )


def _format_ms(ms: float) -> str:
    return f"{ms:.3g} ms" if ms < 999.5 else f"{ms / 1000:.3g} s"


@dataclass
class _Lane:
    """A model, the threads with which it runs, and the seconds of a run in each round; of one thread, on its clock."""

    path: Path
    threads: int | None = None
    runtime: Runtime | None = None
    seconds: list[float] = field(default_factory=list[float])

    @property
    def options(self) -> RuntimeOptions:
        return RuntimeOptions(threads=self.threads)

    @property
    def clock(self) -> Callable[[], float]:
        return perf_counter if self.threads is None else thread_time


def compare_speed(
    original: Path,
    rewritten: Path,
    make_feeds: Callable[[Signature], Feeds],
    weight_bytes: int,
    progress: Progress = no_progress,
    *,
    processor_time: bool = False,
) -> Speed | str:
    """Run both models on the same input, interleaved, until the faster one is known or time is up.

    Returns:
        The comparison, or why the original cannot be run: onnxruntime rejects it, or no input for it can be drawn.

    Args:
        original: the original's file.
        rewritten: the rewritten model's file, with the same inputs.
        make_feeds: returns the input for the original's signature.
        weight_bytes: of the larger model.
        progress: called at each round.
        processor_time: compare the processor time of one thread, in place of the time that passes.

    Raises:
        ArtifactError: onnxruntime rejects the rewritten model.
        CheckFailedError: the rewritten model fails on the input.
    """
    lanes = [_Lane(path, 1 if processor_time else None) for path in (original, rewritten)]
    one_at_a_time = weight_bytes > LARGE_BYTES
    with ExitStack() as stack:
        try:
            progress(f"loading {original.name}")
            if one_at_a_time:
                with OnnxRuntime(original, lanes[0].options) as runtime:
                    signature = runtime.signature
            else:
                lanes[0].runtime = stack.enter_context(OnnxRuntime(original, lanes[0].options))
                signature = lanes[0].runtime.signature
            feeds = make_feeds(signature)
            start = perf_counter()
            _visit(lanes[0], feeds)  # not counted: what is only done once
        except OutOfMemoryError:
            raise
        except C3DExportError as error:
            return str(error)
        progress(f"loading {rewritten.name}")
        if not one_at_a_time:
            lanes[1].runtime = stack.enter_context(OnnxRuntime(rewritten, lanes[1].options))
        _visit(lanes[1], feeds)
        first = perf_counter() - start
        least = 2 if first > VERY_SLOW_S else 3 if first > SLOW_S or one_at_a_time else 5
        options = RoundOptions(least, least if one_at_a_time else ROUNDS, BUDGET_S)
        for number, lane in interleave(lanes, options, lambda text: progress(f"comparing the speed: {text}")):
            lane.seconds.append(_visit(lane, feeds))
            if all(len(lane.seconds) == number + 1 for lane in lanes) and _decided(lanes):
                break
    return _summarise(lanes)


def _visit(lane: _Lane, feeds: Feeds) -> float:
    """Call a model for `MIN_VISIT_S`, at least once; return the seconds of a call."""
    if lane.runtime is None:
        with OnnxRuntime(lane.path, lane.options) as runtime:
            runtime.run(feeds)
            return _time(runtime, feeds, lane.clock)
    return _time(lane.runtime, feeds, lane.clock)


def _time(runtime: Runtime, feeds: Feeds, clock: Callable[[], float]) -> float:
    calls, start = 0, clock()
    while calls == 0 or clock() - start < MIN_VISIT_S:
        runtime.run(feeds)
        calls += 1
    return (clock() - start) / calls


def _decided(lanes: list[_Lane]) -> bool:
    """Return whether the interval lies on one side of `MIN_SPEEDUP`."""
    speed = _summarise(lanes)
    return speed.rounds >= DECIDED_ROUNDS and not speed.low < MIN_SPEEDUP <= speed.high


def _summarise(lanes: list[_Lane]) -> Speed:
    original, rewritten = (lane.seconds for lane in lanes)
    ratio = paired_ratio(original, rewritten)
    return Speed(ratio.value, ratio.low, ratio.high, 1e3 * median(original), 1e3 * median(rewritten), len(original))
