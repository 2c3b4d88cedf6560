"""Tolerances: how far outputs may be from the float64 reference.

The default compares two errors on the same input: the artifact's and that of PyTorch's own float32. Its closest
relative is the `fp64_ref` comparison of torch's compiler tests (`torch._dynamo.utils.same`), which compares the root
mean square error of a result with that of eager execution, both against float64. docs/explanation/parity.md explains
the choice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import UsageError
from exporter.results import Precision
from exporter.types import ParityOptions

ERROR_FACTOR = 8.0
"""The largest error that passes, as a multiple of the float32 baseline's largest error. Engines sum in different
orders, so errors of correct artifacts differ by a factor: up to 3.82 was measured (docs/reference/parity.md)."""

MIN_BASELINE_ERROR = 4 * 2.0**-23
"""Lower bound on the baseline error, relative to max|output|: of few outputs it can be near zero by chance, and 4 units
in the last place are a quarter of the usual error."""

FILL_RATIO, FILL_SPREAD = 1e4, 1e-3
"""Numbers that fill masked places (-1e9, -65504, float32's minimum) are at least so many times as large as every other
number of the output and as 1, and differ from each other by at most this part."""

PEAK_TO_RMS = 4.0
"""The largest of some hundred Gaussian errors, divided by their root mean square."""

MAX_PEAK = 6.0
"""The largest error of a single number, as a multiple of the root mean square of the noise that passes: one class's
error disappears among hundreds. Of a number above the signal's root mean square it is relative to that number."""

ROUNDING_FACTOR = 6.0
"""The largest error that stored weights may make, as a multiple of the root mean square of what rounding them makes,
where that is largest: up to 3.62 was measured (docs/reference/parity.md)."""


class Tolerance(ABC):
    """A tolerance. All arrays are one batch item of one output, flattened to (width,), float64 and finite.

    Attributes:
        min_top1: the fraction of comparisons whose highest class must agree; None where the error alone decides.
    """

    min_top1: float | None = None

    @property
    @abstractmethod
    def description(self) -> str:
        """The tolerance in words."""

    @abstractmethod
    def allowed(self, float32: NDArray[np.float64], float64: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the allowed error of every number, (width,).

        Args:
            float32: the output of the float32 baseline.
            float64: the output of the float64 reference.
        """

    def measure(
        self, values: NDArray[np.float64], float32: NDArray[np.float64], float64: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Return (the allowed error, the part of it that is used) of the number that uses most; 1 is all of it.

        Args:
            values: the artifact's output.
            float32: the output of the float32 baseline.
            float64: the output of the float64 reference.
        """
        allowed, errors = self.allowed(float32, float64), np.abs(values - float64)
        used = np.divide(errors, allowed, out=np.where(errors > 0, np.inf, 0.0), where=allowed > 0)
        worst = int(used.argmax())
        return float(allowed[worst]), float(used[worst])

    def item(self, index: int) -> Tolerance:
        """Return the tolerance of one item of the batch that this one is for."""
        del index
        return self


@dataclass(frozen=True)
class Float32RelativeTolerance(Tolerance):
    """The budget is a multiple of the float32 baseline's largest error on the same batch item.

    Numbers that fill masked places have a budget of their own: theirs would hide any error of the others.
    """

    float32_name: str

    @property
    def description(self) -> str:
        """The tolerance in words."""
        return f"within {ERROR_FACTOR:g} times {self.float32_name}'s own error"

    def allowed(self, float32: NDArray[Any], float64: NDArray[Any]) -> NDArray[np.float64]:
        """See `Tolerance`; the same for every number that fills no masked place."""
        baseline = max(np.abs(float32 - float64).max(), MIN_BASELINE_ERROR * np.abs(float64).max())
        allowed = np.full(float64.shape, ERROR_FACTOR * baseline)
        others = _find_unmasked(float64)
        if others is not None:
            allowed[others] = self.allowed(float32[others], float64[others])
        return allowed


@dataclass(frozen=True)
class AllcloseTolerance(Tolerance):
    """numpy's `allclose`: |output - reference| <= atol + rtol * |reference| for every number."""

    rtol: float
    atol: float

    @property
    def description(self) -> str:
        """The tolerance in words."""
        return f"within {self.atol:g} + {self.rtol:g} |reference|, as asked for"

    def allowed(self, float32: NDArray[Any], float64: NDArray[Any]) -> NDArray[np.float64]:
        """See `Tolerance`."""
        return self.atol + self.rtol * np.abs(float64)


@dataclass(frozen=True)
class SnrTolerance(Tolerance):
    """For fewer bits than float32: a minimum signal-to-noise ratio for every batch item, and a top-1 agreement.

    Attributes:
        precision: what it is for.
        min_snr_db: the lowest ratio that passes, in decibels.
        min_top1: see `Tolerance`.
        min_signal: a signal whose root mean square is smaller counts as this large. The noise of static quantisation
            comes from the ranges of the calibration clips, however small an output is.
        item_signals: `min_signal` of each item of the batch, where they differ.
    """

    precision: Precision
    min_snr_db: float
    min_top1: float | None
    min_signal: float = 0.0
    item_signals: tuple[float, ...] = ()

    @property
    def description(self) -> str:
        """The tolerance in words."""
        return (
            f"{self.precision}: signal to noise at least {self.min_snr_db:g} dB on every input (so cosine at least "
            f"{1 - 10 ** (-self.min_snr_db / 10) / 2:.6g}), top-1 of at least {self.min_top1:.0%} of the inputs"
        )

    def item(self, index: int) -> Tolerance:
        """See `Tolerance`."""
        return replace(self, min_signal=self.item_signals[index], item_signals=()) if self.item_signals else self

    def allowed(self, float32: NDArray[Any], float64: NDArray[Any]) -> NDArray[np.float64]:
        """See `Tolerance`; the peak of the noise, the same for every number."""
        signal = max(rms(float64), self.min_signal)
        return np.full(float64.shape, PEAK_TO_RMS * signal * 10 ** (-self.min_snr_db / 20))

    def measure(self, values: NDArray[Any], float32: NDArray[Any], float64: NDArray[Any]) -> tuple[float, float]:
        """See `Tolerance`; the root mean square error decides, and the allowed error is the peak of such noise.

        No single number may be off by more than `MAX_PEAK` times that, but where noise may be as large as the signal.
        """
        budget, noise = float(self.allowed(float32, float64)[0]), PEAK_TO_RMS * rms(values - float64)
        if budget <= 0:
            return budget, np.inf if noise else 0.0
        if self.min_snr_db <= 0:
            return budget, noise / budget
        signal = max(rms(float64), self.min_signal)
        peaks = np.abs(values - float64) / np.maximum(np.abs(float64), signal)
        return budget, max(noise / budget, float(peaks.max()) / (MAX_PEAK * 10 ** (-self.min_snr_db / 20)))


SNR_TOLERANCES: dict[Precision, SnrTolerance] = {
    tolerance.precision: tolerance
    for tolerance in (
        # 11 bits of mantissa give about 60 dB over eleven layers, 8 bits about 42; a fault costs tens of dB
        SnrTolerance("float16", 45, 0.99),
        SnrTolerance("bfloat16", 28, 0.95),
        SnrTolerance("int8", 15, 0.9),
    )
}


@dataclass(frozen=True)
class StoredWeightsTolerance(Tolerance):
    """For weights that are stored in fewer bits than the model computes with.

    The budget is the float32 baseline's, and beside it what the rounding of these weights can do to the output.

    Attributes:
        float32: the budget of the arithmetic.
        limit: the tolerance of the type that they are stored in, which an artifact must keep in any case.
        rounding: of each item of the batch, the error that rounding these weights makes (`moved_weights`); empty where
            it was not measured, so that `limit` alone decides.
    """

    float32: Float32RelativeTolerance
    limit: SnrTolerance
    rounding: tuple[float, ...] = ()
    min_top1: float | None = None

    @property
    def description(self) -> str:
        """The tolerance in words."""
        return (
            f"{self.limit.precision} weights in a float32 model: {self.float32.description}, plus {ROUNDING_FACTOR:g} "
            "times the error that rounding these weights makes, and signal to noise at least "
            f"{self.limit.min_snr_db:g} dB on every input"
        )

    def item(self, index: int) -> Tolerance:
        """See `Tolerance`."""
        return replace(self, rounding=self.rounding[index : index + 1])

    def allowed(self, float32: NDArray[Any], float64: NDArray[Any]) -> NDArray[np.float64]:
        """See `Tolerance`."""
        if not self.rounding:
            return self.limit.allowed(float32, float64)
        return self.float32.allowed(float32, float64) + ROUNDING_FACTOR * max(self.rounding)

    def measure(self, values: NDArray[Any], float32: NDArray[Any], float64: NDArray[Any]) -> tuple[float, float]:
        """See `Tolerance`; both budgets count, and the smaller one is returned."""
        limit = self.limit.measure(values, float32, float64)
        own = super().measure(values, float32, float64) if self.rounding else limit
        return min(limit[0], own[0]), max(limit[1], own[1])


def select_tolerance(precision: Precision, options: ParityOptions, float32_name: str) -> Tolerance:
    """Return an artifact's tolerance: the user's, that of its precision, or the one relative to float32.

    Args:
        precision: the precision of the artifact's weights.
        options: `rtol` and `atol` take precedence.
        float32_name: the name of the float32 baseline, for the description.

    Raises:
        UsageError: a negative or non-finite tolerance.
    """
    if options.rtol is not None or options.atol is not None:
        check_allclose(options)
        return AllcloseTolerance(options.rtol or 0.0, options.atol or 0.0)
    return SNR_TOLERANCES.get(precision) or Float32RelativeTolerance(float32_name)


def check_allclose(options: ParityOptions) -> None:
    """Refuse values of `rtol` and `atol` with which nothing can be compared.

    Raises:
        UsageError: a negative or non-finite tolerance.
    """
    rtol, atol = options.rtol or 0.0, options.atol or 0.0
    if not (0 <= rtol < np.inf and 0 <= atol < np.inf):
        raise UsageError(f"--rtol and --atol must be finite and not negative (got {rtol:g} and {atol:g})")


def _find_unmasked(values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return where numbers are that do not fill a masked place; None where no place is masked."""
    magnitudes = np.abs(values)
    largest = magnitudes.max()
    others = magnitudes < largest * (1 - FILL_SPREAD)
    rest = magnitudes[others].max(initial=0.0)
    return others if rest > 0 and largest >= FILL_RATIO * max(1.0, rest) else None


def rms(values: NDArray[Any]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def rounding_slack(values: NDArray[Any]) -> float:
    """Return the error that float32's rounding of these values excuses: the smallest budget of the float rule."""
    if values.dtype.kind != "f":
        return 0.0
    return ERROR_FACTOR * MIN_BASELINE_ERROR * float(np.abs(values[np.isfinite(values)]).max(initial=0))
