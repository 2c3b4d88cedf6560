"""One answer against the truth: errors, budget, top-1, verdict."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.types import Comparison, Top1

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACTOR = 8.0
"""How many times PyTorch float32's own largest error an artifact's may be. Engines sum in other orders, so errors of
one size differ by a factor; sound engines were seen at up to 3.4 times (docs/parity.md has the figures)."""

FLOOR = 4 * 2.0**-23
"""The least that PyTorch's error is taken for, relative to the largest output: with few outputs it can be near zero by
luck, and 4 units in the last place is a quarter of what is usual."""

CLASSIFYING = ("logits", "probabilities")


def compare(
    name: str,
    output: str,
    answer: "NDArray[Any]",
    exact: "NDArray[np.float64]",
    torch32: "NDArray[np.float32]",
) -> Comparison:
    """Judge one output of one batch.

    Passes when the artifact's largest error is within `FACTOR` times PyTorch float32's own (at least `FLOOR` of the
    largest output), and the highest class is float64's wherever float64's own margin is larger than that budget.

    Args:
        name: the input's name.
        output: the output's name.
        answer: (N, width), what the artifact answered; another shape, NaN or Inf fails with infinite error.
        exact: (N, width), the truth.
        torch32: (N, width), PyTorch float32's answer.
    """
    torch_largest, torch_mean = _errors(torch32, exact)
    sound = answer.shape == exact.shape and bool(np.isfinite(answer).all())
    if not sound:
        answer = np.full(exact.shape, np.inf)
    largest, mean = _errors(answer, exact)
    budget = FACTOR * max(torch_largest, FLOOR * float(np.abs(exact).max()))
    top1 = _top1(answer, exact, budget) if sound and output in CLASSIFYING else None
    return Comparison(
        input=name,
        output=output,
        batch=len(exact),
        max_error=largest,
        mean_error=mean,
        torch_max_error=torch_largest,
        torch_mean_error=torch_mean,
        budget=budget,
        cosine=_cosine(answer, exact) if sound else 0.0,
        top1=top1,
        passed=sound and math.isfinite(budget) and largest <= budget and top1 != "differs",
    )


def _errors(values: "NDArray[Any]", exact: "NDArray[np.float64]") -> tuple[float, float]:
    distance = np.abs(values.astype(np.float64) - exact)
    return float(distance.max()), float(distance.mean())


def _cosine(values: "NDArray[Any]", exact: "NDArray[np.float64]") -> float:
    """Return the smallest cosine similarity of any row; two zero rows are alike."""
    wide = values.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1) * np.linalg.norm(exact, axis=1)
    products = (wide * exact).sum(axis=1)
    alike = np.where(norms > 0, products / np.where(norms > 0, norms, 1), (wide == exact).all(axis=1))
    return float(alike.min())


def _top1(values: "NDArray[Any]", exact: "NDArray[np.float64]", budget: float) -> Top1:
    """Tell whether the highest class agrees in every row; a disagreement inside the budget is a tie."""
    agree = values.argmax(axis=1) == exact.argmax(axis=1)
    if agree.all():
        return "same"
    ordered = np.sort(exact, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    return "differs" if (margins[~agree] > budget).any() else "tie"
