"""Reports from known outputs: nothing is run."""

from typing import Any

import numpy as np
import pytest
from helpers.golden import known_golden, run_result
from numpy.typing import NDArray

from exporter.parity.evaluate import evaluate, stop_at_failure
from exporter.parity.input_set import InputBatch
from exporter.results import ParityReport, Placement, Ranking
from exporter.types import ParityOptions

SCORES = np.random.default_rng(0).standard_normal((3, 487))
FLOAT32 = SCORES.astype(np.float32)
OPTIONS = ParityOptions()


def rank(output: str, *batches: tuple[int, ...], change: float = 0.0) -> tuple[Ranking, ...]:
    result = run_result(*((rows, FLOAT32[list(rows)] + np.float32(change)) for rows in batches), output=output)
    return evaluate(result, known_golden(SCORES, output=output, features=("fc6",)), OPTIONS).rankings


@pytest.mark.parametrize("batches", [[(0,), (1,), (2,), (1, 2)], [(0, 1), (2, 0)]])
def test_each_input_is_ranked_once_whatever_batches_contain_it(batches: list[tuple[int, ...]]) -> None:
    rankings = rank("logits", *batches)
    assert [ranking.input for ranking in rankings] == ["a", "b", "c"]
    for row, ranking in enumerate(rankings):
        expected = sorted(range(487), key=lambda index, row=row: -SCORES[row, index])[:5]
        assert [number for number, _ in ranking.float64] == expected
        assert [number for number, _ in ranking.artifact] == expected
        assert [score for _, score in ranking.float64] == [SCORES[row, number] for number in expected]


def test_features_and_nan_are_not_ranked() -> None:
    assert rank("fc6", (0,), (1,)) == ()
    assert rank("logits", (0,), change=np.nan) == ()


def test_labels_and_maps_are_not_ranked() -> None:
    for values in (np.arange(20).reshape(2, 10), np.arange(24.0).reshape(2, 3, 4)):
        result = run_result(((0, 1), values))
        assert evaluate(result, known_golden(values, values), OPTIONS).rankings == ()


def evaluate_scores(values: NDArray[Any], **result: Any) -> ParityReport:
    return evaluate(run_result(((0, 1, 2), values), **result), known_golden(SCORES), OPTIONS, ("first",))


def test_an_equal_output_passes() -> None:
    report = evaluate_scores(FLOAT32)
    assert report.passed
    assert report.notes == ("first",)
    assert report.tolerance == "within 8 times known float32's own error"
    assert (report.float64_name, report.float32_name, report.engine) == (
        "known in float64",
        "known float32",
        "an engine",
    )
    assert {*report.seconds} == {"reference"}


def test_nodes_on_another_device_fail_unless_they_are_allowed() -> None:
    result = run_result(((0, 1, 2), FLOAT32), placement=Placement("cuda", 27, ("pool5 (MaxPool)",)))
    golden = known_golden(SCORES)
    refused = evaluate(result, golden, OPTIONS)
    assert not refused.passed
    assert {row.passed for row in refused.comparisons} == {True}
    assert "1 of 27 nodes did not run on cuda: pool5 (MaxPool)" in refused.notes
    assert evaluate(result, golden, ParityOptions(allow_fallback=True)).passed


@pytest.mark.parametrize(
    ("failing", "named"),
    [((1, 2), "up to 1 pass"), ((2,), ""), ((0, 1, 2), "")],
    ids=["larger", "one of size 1", "all"],
)
def test_a_failure_of_larger_batches_only_is_noted(failing: tuple[int, ...], named: str) -> None:
    batches = [(0,), (1,), (2,)] if failing == (2,) else [(0,), (1, 2), (0, 1, 2)]
    runs = [(rows, FLOAT32[list(rows)] + np.float32(index in failing)) for index, rows in enumerate(batches)]
    report = evaluate(run_result(*runs), known_golden(SCORES), OPTIONS)
    assert not report.passed
    hints = [note for note in report.notes if "batch size" in note]
    assert len(hints) == bool(named)
    assert all(named in hint for hint in hints)


def test_a_second_engine_that_fails_is_noted_and_fails() -> None:
    golden = known_golden(SCORES)
    report = evaluate(run_result(((0,), FLOAT32[:1])), golden, OPTIONS, (), run_result(((0,), FLOAT32[:1] + 1)))
    assert not report.passed
    assert [row.passed for row in (*report.comparisons, *report.against_comparisons)] == [True, False]
    assert report.comparisons[0].max_abs_diff == pytest.approx(1, rel=1e-6)
    assert report.notes == ("an engine itself exceeds its budget on a",)


def test_a_lower_precision_needs_equal_classes() -> None:
    float64 = np.tile(np.array([[1.0, 0.0, 0.0]]), (2, 1))
    values = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    result = run_result(*(([row], values[row : row + 1]) for row in range(2)), precision="int8")
    report = evaluate(result, known_golden(float64), OPTIONS)
    assert report.top1_agreement == 0.5
    assert "the highest class agrees on 50% of the inputs; at least 90% must agree" in report.notes
    assert report.notes[0].startswith("compared as int8, which is an approximation")


@pytest.mark.parametrize(("wrong", "passed"), [(2, True), (3, False)])
def test_a_lower_precision_needs_equal_labels_over_all_inputs(wrong: int, passed: bool) -> None:
    """At least 90 % of them; an input alone has 7 of 10 here."""
    labels = np.arange(20).reshape(2, 10)
    values = labels.copy()
    values[1, :wrong] += 1
    result = run_result(*(([row], values[row : row + 1]) for row in range(2)), output="label", precision="int8")
    report = evaluate(result, known_golden(labels, labels, output="label"), OPTIONS)
    assert report.passed is passed
    assert report.tolerance.endswith("; discrete outputs: at least 90% of the elements equal")
    assert ("85.00% of the elements of label are equal; at least 90% must be" in report.notes) is not passed


def test_in_float32_each_label_decides() -> None:
    labels = np.arange(20).reshape(2, 10)
    golden = known_golden(labels, labels, output="label")
    right = evaluate(run_result(((0, 1), labels), output="label"), golden, OPTIONS)
    assert right.passed
    assert right.tolerance.endswith("; discrete outputs equal, except where that error decides (near ties)")
    assert not evaluate(run_result(((0, 1), np.where(labels == 7, 8, labels)), output="label"), golden, OPTIONS).passed


def test_an_unsupported_input_is_noted() -> None:
    report = evaluate_scores(FLOAT32, unsupported_inputs=("b", "nan"))
    assert report.notes == ("first", "an engine is not run on b: it is known to differ there")


def test_no_outputs_do_not_pass() -> None:
    assert not evaluate(run_result(), known_golden(SCORES), OPTIONS).passed


def test_the_stop_condition_is_true_at_the_first_failure() -> None:
    stop = stop_at_failure(known_golden(SCORES), OPTIONS, run_result().spec)
    batch = InputBatch("a", (0,))
    assert not stop("float32", batch, {"logits": FLOAT32[:1]})
    assert stop("float32", batch, {"logits": FLOAT32[:1] + 1})
