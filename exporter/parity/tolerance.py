"""How far an answer may be from float64: the rules, and which one an artifact is held to.

docs/parity.md explains why each is what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from exporter.errors import UsageError
from exporter.results import Precision
from exporter.types import ParityOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

ERROR_FACTOR = 8.0
"""How many times the reference float32's own largest error an artifact's may be. Engines sum in other orders, so errors
of one size differ by a factor; sound engines were seen at up to 3.4 times (docs/parity.md has the figures)."""

MIN_BASELINE_ERROR = 4 * 2.0**-23
"""The least that the reference's error is taken for, relative to the largest output: with few outputs it can be near
zero by luck, and 4 units in the last place is a quarter of what is usual."""

PEAK_TO_RMS = 4.0
"""A Gaussian error's largest of some hundred numbers, over its root mean square: what ties are told by where the budget
is on the root mean square."""


class Tolerance(Protocol):
    """A tolerance."""

    @property
    def text(self) -> str:
        """The rule, for people."""
        ...

    @property
    def least_top1(self) -> float | None:
        """The share of clips whose highest class must be the truth's; None where the budget alone decides."""
        ...

    def judge(
        self, answer: NDArray[np.float64], single: NDArray[np.float64], exact: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Return (the largest error that passes, how much of the budget is used) for one row of finite numbers.

        Args:
            answer: (width,), the artifact's.
            single: (width,), the reference's float32.
            exact: (width,), the truth.
        """
        ...

    def allowed(self, single: NDArray[np.float64], exact: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each number of one row may be off by, (width,). See `judge` for the arguments."""
        ...


@dataclass(frozen=True)
class Float32RelativeTolerance:
    """The budget is a multiple of the reference's own float32 error on the same row."""

    reference: str
    least_top1: None = None

    @property
    def text(self) -> str:
        """Return the rule, for people."""
        return f"within {ERROR_FACTOR:g} times {self.reference}'s own error"

    def judge(self, answer: NDArray[Any], single: NDArray[Any], exact: NDArray[Any]) -> tuple[float, float]:
        """See `Rule`."""
        budget = self._budget(single, exact)
        return budget, _ratio(_max_abs(answer - exact), budget)

    def allowed(self, single: NDArray[Any], exact: NDArray[Any]) -> NDArray[np.float64]:
        """See `Rule`: the same for every number of the row."""
        return np.full(exact.shape, self._budget(single, exact))

    @staticmethod
    def _budget(single: NDArray[Any], exact: NDArray[Any]) -> float:
        return ERROR_FACTOR * max(_max_abs(single - exact), MIN_BASELINE_ERROR * _max_abs(exact))


@dataclass(frozen=True)
class AllcloseTolerance:
    """numpy's `allclose`: |answer - truth| <= atol + rtol * |truth|, number by number."""

    rtol: float
    atol: float
    least_top1: None = None

    @property
    def text(self) -> str:
        """Return the rule, for people."""
        return f"within {self.atol:g} + {self.rtol:g} |truth|, as asked for"

    def judge(self, answer: NDArray[Any], single: NDArray[Any], exact: NDArray[Any]) -> tuple[float, float]:
        """See `Rule`; the budget told is that of the number which uses most of its own."""
        allowed = self.allowed(single, exact)
        errors = np.abs(answer - exact)
        shares = np.where(errors > 0, errors / np.where(allowed > 0, allowed, 1), 0)
        shares = np.where((allowed == 0) & (errors > 0), np.inf, shares)
        worst = int(shares.argmax())
        return float(allowed[worst]), float(shares[worst])

    def allowed(self, single: NDArray[Any], exact: NDArray[Any]) -> NDArray[np.float64]:
        """See `Rule`."""
        del single
        return self.atol + self.rtol * np.abs(exact)


@dataclass(frozen=True)
class SnrTolerance:
    """For fewer bits than float32's: a signal-to-noise ratio on every clip, and a share of highest classes."""

    precision: Precision
    least_snr_db: float
    least_top1: float

    @property
    def text(self) -> str:
        """Return the rule, for people."""
        return (
            f"{self.precision}: signal to noise at least {self.least_snr_db:g} dB on every clip (so cosine at least "
            f"{1 - 10 ** (-self.least_snr_db / 10) / 2:.6g}), top-1 of at least {self.least_top1:.0%} of the clips"
        )

    def judge(self, answer: NDArray[Any], single: NDArray[Any], exact: NDArray[Any]) -> tuple[float, float]:
        """See `Rule`; the budget told is the largest error that such noise would have."""
        del single
        allowed = _rms(exact) * 10 ** (-self.least_snr_db / 20)
        return PEAK_TO_RMS * allowed, _ratio(_rms(answer - exact), allowed)

    def allowed(self, single: NDArray[Any], exact: NDArray[Any]) -> NDArray[np.float64]:
        """See `Rule`: the largest error that such noise would have, the same for every number of the row."""
        del single
        return np.full(exact.shape, PEAK_TO_RMS * _rms(exact) * 10 ** (-self.least_snr_db / 20))


SNR_TOLERANCES: dict[Precision, SnrTolerance] = {
    rule.precision: rule
    for rule in (
        # 11 bits of mantissa give about 60 dB over C3D's eleven layers, 8 bits about 42; a fault costs tens of dB
        SnrTolerance("float16", 45, 0.99),
        SnrTolerance("bfloat16", 28, 0.95),
        SnrTolerance("int8", 15, 0.9),
    )
}


def select_tolerance(arithmetic: Precision, options: ParityOptions, reference: str) -> Tolerance:
    """Return the rule that an artifact is held to: the user's, its arithmetic's, or the measured one.

    Args:
        arithmetic: of the artifact's weights.
        options: `rtol` and `atol` overrule.
        reference: whose float32 error is the measure, for people.

    Raises:
        UsageError: a negative or non-finite tolerance.
    """
    if options.rtol is not None or options.atol is not None:
        rtol, atol = options.rtol or 0.0, options.atol or 0.0
        if not (0 <= rtol < np.inf and 0 <= atol < np.inf):
            raise UsageError(f"--rtol and --atol must be finite and not negative (got {rtol:g} and {atol:g})")
        return AllcloseTolerance(rtol, atol)
    return SNR_TOLERANCES.get(arithmetic) or Float32RelativeTolerance(reference)


def _max_abs(values: NDArray[Any]) -> float:
    return float(np.abs(values).max(initial=0.0))


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _ratio(used: float, budget: float) -> float:
    return used / budget if budget > 0 else (0.0 if used == 0 else np.inf)
