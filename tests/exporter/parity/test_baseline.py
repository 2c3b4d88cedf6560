"""Errors that grow between releases fail, and nothing else does."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.reports import bare

from exporter.errors import BadInputError, OutputError, UsageError
from exporter.parity.baseline import check_baseline, check_growth, read_baseline, save_baseline
from exporter.results import ParityReport, Placement

BEFORE = bare(("random", 1e-6), ("video", 2e-6), ("random", 3e-6))


def held(before: ParityReport, now: ParityReport, tmp_path: Path, growth: float = 2.0) -> ParityReport:
    save_baseline(tmp_path / "b.json", [before])
    (judged,) = check_baseline(read_baseline(tmp_path / "b.json"), growth, [now])
    return judged


def test_the_same_errors_pass_unchanged(tmp_path: Path) -> None:
    assert held(BEFORE, BEFORE, tmp_path) == BEFORE


@pytest.mark.parametrize(("error", "growth", "passed"), [(3.9e-6, 2, True), (4.1e-6, 2, False), (4.1e-6, 3, True)])
def test_growth_is_held_to_the_factor(error: float, growth: float, passed: bool, tmp_path: Path) -> None:
    judged = held(BEFORE, bare(("random", 1e-6), ("video", error), ("random", 3e-6)), tmp_path, growth)
    assert judged.passed is passed
    reported = (
        "grew since the baseline: video, logits, batch 1: error 4.1e-06, was 2.0e-06 (at most 2 times is allowed)"
    )
    assert (reported in judged.notes) is not passed


def test_of_several_draws_the_largest_counts(tmp_path: Path) -> None:
    assert held(BEFORE, bare(("random", 5.9e-6), ("video", 0)), tmp_path).passed
    assert not held(BEFORE, bare(("random", 6.1e-6), ("video", 0), ("random", 0)), tmp_path).passed


def test_noise_below_a_bit_is_no_growth(tmp_path: Path) -> None:
    assert held(bare(("zeros", 0)), bare(("zeros", 2e-7)), tmp_path).passed
    assert not held(bare(("zeros", 0)), bare(("zeros", 3e-7)), tmp_path).passed


def test_an_infinite_error_grew(tmp_path: Path) -> None:
    assert not held(BEFORE, bare(("random", float("inf")), ("video", 0)), tmp_path, 1e30).passed


def test_what_the_baseline_does_not_know_is_told(tmp_path: Path) -> None:
    more = held(BEFORE, bare(("random", 1e-6), ("mine.mp4", 1e-6)), tmp_path)
    assert more.passed
    assert "1 of 2 comparisons are not in the baseline" in more.notes
    for other in (
        replace(BEFORE, artifact="elsewhere/c3d-2.onnx"),
        replace(BEFORE, runtime="OpenVINO 2026.4.1 (cpu)"),
        replace(BEFORE, placement=Placement("cuda", 27)),
    ):
        judged = held(BEFORE, other, tmp_path)
        assert not judged.passed
        assert "the baseline knows none of these comparisons" in judged.notes[-1]
    assert held(
        BEFORE, replace(BEFORE, artifact="elsewhere/c3d.onnx", runtime="onnxruntime 9.9 (cpu)"), tmp_path
    ).passed


def test_a_failed_report_stays_failed(tmp_path: Path) -> None:
    assert not held(BEFORE, replace(BEFORE, passed=False), tmp_path).passed


@pytest.mark.parametrize("growth", [0.5, -1.0, float("nan"), float("inf")])
def test_a_factor_that_makes_no_sense(growth: float) -> None:
    with pytest.raises(UsageError, match="--max-growth must be at least 1 and finite"):
        check_growth(growth)


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"", "not a baseline"),
        (b"\xff", "not a baseline"),
        (b"[]", "not a baseline: Expected `object`"),
        (b'{"version": 1}', "missing required field `entries`"),
        (b'{"version": 9, "entries": []}', "version 9; this release reads version 1"),
    ],
)
def test_a_bad_baseline_is_told_with_its_place(content: bytes, reported: str, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(BadInputError, match=reported):
        read_baseline(tmp_path / "b.json")


def test_places_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--baseline .*none.json: cannot be read: No such file"):
        read_baseline(tmp_path / "none.json")
    with pytest.raises(OutputError, match="--save-baseline .*: cannot be written: Is a directory"):
        save_baseline(tmp_path, [BEFORE])
