"""Errors that grow between releases fail, and nothing else does."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.reports import bare

from exporter.errors import BadInputError, OutputError, UsageError
from exporter.parity.baseline import check_baseline, check_growth, read_baseline, save_baseline
from exporter.results import ParityReport, Placement

BEFORE = bare(("random", 1e-6), ("video", 2e-6), ("random", 3e-6))


def check(before: ParityReport, now: ParityReport, tmp_path: Path, growth: float = 2.0) -> ParityReport:
    save_baseline(tmp_path / "b.json", [before])
    (checked,) = check_baseline(read_baseline(tmp_path / "b.json"), growth, [now])
    return checked


def test_the_same_errors_pass_unchanged(tmp_path: Path) -> None:
    assert check(BEFORE, BEFORE, tmp_path) == BEFORE


@pytest.mark.parametrize(("error", "growth", "passed"), [(3.9e-6, 2, True), (4.1e-6, 2, False), (4.1e-6, 3, True)])
def test_an_error_may_grow_by_the_factor(error: float, growth: float, passed: bool, tmp_path: Path) -> None:
    checked = check(BEFORE, bare(("random", 1e-6), ("video", error), ("random", 3e-6)), tmp_path, growth)
    assert checked.passed is passed
    reported = (
        "grew since the baseline: video, logits, batch 1: error 4.1e-06, was 2.0e-06 (at most 2 times is allowed)"
    )
    assert (reported in checked.notes) is not passed


def test_of_several_samples_the_largest_error_counts(tmp_path: Path) -> None:
    assert check(BEFORE, bare(("random", 5.9e-6), ("video", 0)), tmp_path).passed
    assert not check(BEFORE, bare(("random", 6.1e-6), ("video", 0), ("random", 0)), tmp_path).passed


def test_errors_below_one_bit_do_not_count_as_growth(tmp_path: Path) -> None:
    assert check(bare(("zeros", 0)), bare(("zeros", 2e-7)), tmp_path).passed
    assert not check(bare(("zeros", 0)), bare(("zeros", 3e-7)), tmp_path).passed


def test_an_infinite_error_fails(tmp_path: Path) -> None:
    assert not check(BEFORE, bare(("random", float("inf")), ("video", 0)), tmp_path, 1e30).passed


def test_comparisons_that_are_not_in_the_baseline(tmp_path: Path) -> None:
    more = check(BEFORE, bare(("random", 1e-6), ("mine.mp4", 1e-6)), tmp_path)
    assert more.passed
    assert "1 of 2 comparisons are not in the baseline" in more.notes
    for other in (
        replace(BEFORE, artifact="elsewhere/c3d-2.onnx"),
        replace(BEFORE, engine="OpenVINO 2026.4.1 (cpu)"),
        replace(BEFORE, placement=Placement("cuda", 27)),
    ):
        checked = check(BEFORE, other, tmp_path)
        assert not checked.passed
        assert "the baseline has none of these comparisons" in checked.notes[-1]
    assert check(
        BEFORE, replace(BEFORE, artifact="elsewhere/c3d.onnx", engine="onnxruntime 9.9 (cpu)"), tmp_path
    ).passed


def test_a_failed_report_stays_failed(tmp_path: Path) -> None:
    assert not check(BEFORE, replace(BEFORE, passed=False), tmp_path).passed


@pytest.mark.parametrize("growth", [0.5, -1.0, float("nan"), float("inf")])
def test_an_invalid_factor_is_refused(growth: float) -> None:
    with pytest.raises(UsageError, match="--max-growth must be at least 1 and finite"):
        check_growth(growth)


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"", "not a baseline"),
        (b"\xff", "not a baseline"),
        (b"[]", "not a baseline: Expected `object`"),
        (b'{"a":' * 100_000, "not a baseline: maximum recursion depth"),
        (b'{"version": 1}', "missing required field `entries`"),
        (b'{"version": 9, "entries": []}', "version 9; this release reads version 1"),
    ],
)
def test_a_bad_baseline_is_refused(content: bytes, reported: str, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(BadInputError, match=reported):
        read_baseline(tmp_path / "b.json")


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such baseline: .*none.json"):
        read_baseline(tmp_path / "none.json")
    with pytest.raises(OutputError, match="--save-baseline .*: cannot be written: Is a directory"):
        save_baseline(tmp_path, [BEFORE])
