"""Every number is counted once, in the bin that its error as a share of its own budget falls into."""

from typing import Any

import numpy as np
import pytest
from helpers.reports import comparison
from numpy.typing import NDArray

from exporter.parity.compare import Expected, compare
from exporter.parity.execution import RunResult
from exporter.parity.histogram import BIN_EDGES, error_histograms
from exporter.parity.inputs import InputBatch, InputSet
from exporter.parity.preview import MAX_CLIPS, preview_frames
from exporter.parity.tolerance import SNR_TOLERANCES, AllcloseTolerance, Float32RelativeTolerance, Tolerance
from exporter.results import ErrorHistogram, Placement
from models.config import INPUT_NAME


class Known:
    """A truth that is known beforehand."""

    def __init__(self, exact: NDArray[np.float64], single: NDArray[np.float32]) -> None:
        self._exact, self._single = exact, single

    def float64(self, _output: str, rows: tuple[int, ...]) -> NDArray[np.float64]:
        return self._exact[list(rows)]

    def float32(self, _output: str, rows: tuple[int, ...]) -> NDArray[np.float32]:
        return self._single[list(rows)]


def counted(
    answer: NDArray[Any], exact: NDArray[np.float64], single: NDArray[np.float32], rule: Tolerance
) -> ErrorHistogram:
    batch = InputBatch("x", tuple(range(len(exact))))
    answers = RunResult(None, "r", Placement("cpu", 1), "float32", None, ((batch, {"logits": answer}),), {})  # pyright: ignore
    (found,) = error_histograms(answers, Known(exact, single), rule)  # pyright: ignore
    return found


def bin_of(found: ErrorHistogram, share: float) -> int:
    """Return the bin's number by looking at every bin."""
    (place,) = [i for i in range(len(found.bin_edges) - 1) if found.bin_edges[i] < share <= found.bin_edges[i + 1]]
    return place


def test_shares_of_a_fixed_budget() -> None:
    exact = np.array([[1.0, 1, 1, 1, 1, 1]])
    errors = np.array([0, 0.5, 1, 1.5, 2e-6, 4000])
    found = counted(exact + errors, exact, exact.astype(np.float32), AllcloseTolerance(rtol=0, atol=1))
    assert found.artifact_exact == 1
    assert found.float32_exact == 6
    wanted = [0] * (len(BIN_EDGES) - 1)
    for share in (0.5, 1.0, 1.5, 2e-6, 4000):
        wanted[bin_of(found, share)] += 1
    assert list(found.artifact) == wanted
    assert sum(found.float32) == 0
    assert found.nonfinite_mismatches == 0
    assert found.bin_edges.count(1.0) == 1


def test_each_row_has_its_own_budget_and_all_numbers_are_counted() -> None:
    generator = np.random.default_rng(0)
    exact = generator.standard_normal((4, 487)) * np.array([[1], [1e3], [1e-9], [1e20]])
    single = exact.astype(np.float32)
    answer = (exact * (1 + generator.standard_normal(exact.shape) * 3e-7)).astype(np.float32)
    found = counted(answer, exact, single, Float32RelativeTolerance("x"))
    assert sum(found.artifact) + found.artifact_exact == 4 * 487
    assert found.float32_exact == 4 * 487
    wanted, right = [0] * (len(BIN_EDGES) - 1), 0
    for a, e, s in zip(answer, exact, single, strict=True):
        budget = 8 * max(np.abs(s - e).max(), 2.0**-21 * np.abs(e).max())
        for number, true in zip(a, e, strict=True):
            if number == np.float32(true):
                right += 1
            else:
                wanted[bin_of(found, abs(float(number) - true) / budget)] += 1
    assert list(found.artifact) == wanted
    assert found.artifact_exact == right


@pytest.mark.parametrize(
    "rule", [Float32RelativeTolerance("x"), AllcloseTolerance(1e-5, 1e-7), SNR_TOLERANCES["float16"]]
)
@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-3, 1.0])
def test_over_the_budget_is_what_fails(rule: Tolerance, size: float) -> None:
    generator = np.random.default_rng(1)
    exact = generator.standard_normal((1, 101))
    single = (exact + generator.standard_normal(exact.shape) * 1e-7).astype(np.float32)
    answer = exact + generator.standard_normal(exact.shape) * size
    found = counted(answer, exact, single, rule)
    over = sum(number for number, low in zip(found.artifact, found.bin_edges, strict=False) if low >= 1)
    passed = compare("x", "logits", answer, Expected(exact, single), rule).passed
    if rule.min_top1 is None:  # else the root mean square decides, and single numbers may stand out
        assert passed == (over == 0)
    elif passed:
        assert over <= 1


def test_nan_and_infinity_are_lost_not_counted() -> None:
    exact = np.array([[1.0, 2.0, 3.0, np.nan, 1e39]])
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)  # the last is infinite in float32, and may be
    answer = np.array([[np.nan, 2.0, 3.5, np.nan, np.inf]])
    found = counted(answer, exact, single, Float32RelativeTolerance("x"))
    assert found.nonfinite_mismatches == 1
    assert found.artifact_exact == 1
    assert sum(found.artifact) == 1
    assert sum(found.float32) + found.float32_exact == 3


def test_an_error_where_none_is_allowed_is_beyond_every_bin() -> None:
    found = counted(
        np.array([[0.0, 1e-9]]), np.zeros((1, 2)), np.zeros((1, 2), np.float32), Float32RelativeTolerance("x")
    )
    assert found.artifact_exact == 1
    assert found.artifact[-1] == 1


def test_frames_of_the_clips_that_use_most_are_kept() -> None:
    frames = {
        row: np.full((16, 4, 5, 3), row, np.uint8) + np.arange(16, dtype=np.uint8)[:, None, None, None]
        for row in range(30)
    }
    pool = InputSet({INPUT_NAME: np.zeros((30, 1))}, tuple(f"c{row}" for row in range(30)), frames)
    kept = preview_frames(pool, [comparison(f"c{row}", row / 100) for row in range(30)])
    assert [clip.input for clip in kept] == [f"c{row}" for row in range(30 - MAX_CLIPS, 30)]
    assert (kept[0].width, kept[0].height, kept[0].numbers) == (5, 4, (1, 4, 7, 10, 13, 16))
    assert [set(frame) for frame in kept[0].frames] == [{6 + number - 1} for number in kept[0].numbers]
    assert {len(frame) for frame in kept[0].frames} == {4 * 5 * 3}
