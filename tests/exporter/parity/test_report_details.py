"""Histograms count every number once, in the bin of its error divided by its budget; frames are of the worst clips."""

from typing import Any

import numpy as np
import pytest
from helpers.golden import known_golden, run_result
from helpers.reports import comparison
from numpy.typing import NDArray

from exporter.parity.compare import Expected, compare
from exporter.parity.input_set import InputSet
from exporter.parity.report_details import BIN_EDGES, MAX_CLIPS, error_histograms, preview_frames
from exporter.parity.row_tolerances import Tolerances
from exporter.parity.tolerance import SNR_TOLERANCES, AllcloseTolerance, Float32RelativeTolerance, Tolerance
from exporter.results import ErrorHistogram


def count_errors(
    values: NDArray[Any], float64: NDArray[np.float64], float32: NDArray[np.float32], tolerance: Tolerance
) -> ErrorHistogram:
    result = run_result((range(len(float64)), values))
    (found,) = error_histograms(result, known_golden(float64, float32), Tolerances(tolerance))
    return found


def find_bin(found: ErrorHistogram, ratio: float) -> int:
    """Return the bin's number by looking at every bin."""
    (index,) = [i for i in range(len(found.bin_edges) - 1) if found.bin_edges[i] < ratio <= found.bin_edges[i + 1]]
    return index


def test_ratios_to_a_fixed_budget() -> None:
    float64 = np.array([[1.0, 1, 1, 1, 1, 1]])
    errors = np.array([0, 0.5, 1, 1.5, 2e-6, 4000])
    found = count_errors(float64 + errors, float64, float64.astype(np.float32), AllcloseTolerance(rtol=0, atol=1))
    assert found.artifact_exact == 1
    assert found.float32_exact == 6
    wanted = [0] * (len(BIN_EDGES) - 1)
    for ratio in (0.5, 1.0, 1.5, 2e-6, 4000):
        wanted[find_bin(found, ratio)] += 1
    assert list(found.artifact) == wanted
    assert sum(found.float32) == 0
    assert found.nonfinite_mismatches == 0
    assert found.bin_edges.count(1.0) == 1


def test_each_row_has_its_own_budget_and_all_numbers_are_counted() -> None:
    generator = np.random.default_rng(0)
    float64 = generator.standard_normal((4, 487)) * np.array([[1], [1e3], [1e-9], [1e20]])
    float32 = float64.astype(np.float32)
    values = (float64 * (1 + generator.standard_normal(float64.shape) * 3e-7)).astype(np.float32)
    found = count_errors(values, float64, float32, Float32RelativeTolerance("x"))
    assert sum(found.artifact) + found.artifact_exact == 4 * 487
    assert found.float32_exact == 4 * 487
    wanted, right = [0] * (len(BIN_EDGES) - 1), 0
    for a, e, s in zip(values, float64, float32, strict=True):
        budget = 8 * max(np.abs(s - e).max(), 2.0**-21 * np.abs(e).max())
        for number, true in zip(a, e, strict=True):
            if number == np.float32(true):
                right += 1
            else:
                wanted[find_bin(found, abs(float(number) - true) / budget)] += 1
    assert list(found.artifact) == wanted
    assert found.artifact_exact == right


@pytest.mark.parametrize(
    "tolerance", [Float32RelativeTolerance("x"), AllcloseTolerance(1e-5, 1e-7), SNR_TOLERANCES["float16"]]
)
@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-3, 1.0])
def test_numbers_over_the_budget_fail(tolerance: Tolerance, size: float) -> None:
    generator = np.random.default_rng(1)
    float64 = generator.standard_normal((1, 101))
    float32 = (float64 + generator.standard_normal(float64.shape) * 1e-7).astype(np.float32)
    values = float64 + generator.standard_normal(float64.shape) * size
    found = count_errors(values, float64, float32, tolerance)
    over = sum(number for number, low in zip(found.artifact, found.bin_edges, strict=False) if low >= 1)
    passed = compare("x", "logits", values, Expected(float64, float32), tolerance).passed
    if tolerance.min_top1 is None:  # else the root mean square decides, and float32 numbers may stand out
        assert passed == (over == 0)
    elif passed:
        assert over <= 1


def test_nan_and_infinity_are_mismatches() -> None:
    float64 = np.array([[1.0, 2.0, 3.0, np.nan, 1e39]])
    with np.errstate(over="ignore"):
        float32 = float64.astype(np.float32)  # the last is infinite in float32, and may be
    values = np.array([[np.nan, 2.0, 3.5, np.nan, np.inf]])
    found = count_errors(values, float64, float32, Float32RelativeTolerance("x"))
    assert found.nonfinite_mismatches == 1
    assert found.artifact_exact == 1
    assert sum(found.artifact) == 1
    assert sum(found.float32) + found.float32_exact == 3


def test_an_error_where_none_is_allowed_is_in_the_last_bin() -> None:
    found = count_errors(
        np.array([[0.0, 1e-9]]), np.zeros((1, 2)), np.zeros((1, 2), np.float32), Float32RelativeTolerance("x")
    )
    assert found.artifact_exact == 1
    assert found.artifact[-1] == 1


def test_frames_of_the_clips_that_use_most_of_their_budget() -> None:
    frames = {
        row: np.full((16, 4, 5, 3), row, np.uint8) + np.arange(16, dtype=np.uint8)[:, None, None, None]
        for row in range(30)
    }
    inputs = InputSet.of_rows({"x": np.zeros((30, 1))}, tuple(f"c{row}" for row in range(30)), frames)
    previews = preview_frames(inputs, [comparison(f"c{row}", row / 100) for row in range(30)])
    assert [clip.input for clip in previews] == [f"c{row}" for row in range(30 - MAX_CLIPS, 30)]
    assert (previews[0].width, previews[0].height, previews[0].numbers) == (5, 4, (1, 4, 7, 10, 13, 16))
    assert [set(frame) for frame in previews[0].frames] == [{6 + number - 1} for number in previews[0].numbers]
    assert {len(frame) for frame in previews[0].frames} == {4 * 5 * 3}
