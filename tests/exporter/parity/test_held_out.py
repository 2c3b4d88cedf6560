"""Artifacts below float32: which rows they are held to a bound on, and how accurate they are there."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from helpers.golden import known_golden, run_result
from helpers.manifests import MANIFEST
from numpy.typing import NDArray

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest_fields import CALIBRATION, MIN_SNR, PRECISION, WEIGHT_DTYPE
from exporter.calibration_clips import PACKAGED_CLIPS, CalibrationClips
from exporter.parity.claims import stated_precision
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.parity.held_out import add_held_out, describe_weak_bound, make_bound
from exporter.parity.input_set import InputSet
from exporter.parity.row_tolerances import AccuracyBound
from exporter.results import HeldOutAccuracy, ParityReport, Precision
from exporter.types import MIN_SNR as MIN_SNRS
from exporter.types import ComputePrecision, ParityOptions

SCORES = np.array([[4.0, 3.0, 0.0], [0.0, 5.0, 0.0], [1.0, 0.0, 8.0], [6.0, 2.0, 3.0]])
NOISE = np.array([[0.075, -0.1, 0.0], [0.0, 0.05, 0.0], [0.008, 0.0, 0.0], [0.0, 0.07, 0.0]])
"""Signal to noise of the rows: 20 log10 of 5 / 0.125, 5 / 0.05, sqrt(65) / 0.008 and 7 / 0.07: 32, 40, 60 and 40 dB."""


def verified(
    values: NDArray[np.float64],
    bound: AccuracyBound,
    held_out: tuple[int, ...] = (),
    given: tuple[int, ...] = (),
    precision: Precision = "bfloat16",
) -> ParityReport:
    golden = known_golden(SCORES)
    golden = replace_inputs(golden, held_out, given)
    result = run_result(*(([row], values[row : row + 1]) for row in range(len(SCORES))), precision=precision)
    return evaluate(bounded(result, bound), golden, ParityOptions())


def replace_inputs(golden: GoldenOutputs, held_out: tuple[int, ...], given: tuple[int, ...]) -> GoldenOutputs:
    golden.inputs = replace(golden.inputs, held_out=held_out, given=given, names=("a", "b", "video", "d"))
    return golden


def bounded(result: RunResult, bound: AccuracyBound) -> RunResult:
    return replace(result, spec=replace(result.spec, bound=bound))


def test_the_lowest_ratio_of_the_held_out_rows_is_reported() -> None:
    report = verified(SCORES + NOISE, AccuracyBound(39), held_out=(1, 2))
    assert report.held_out is not None
    assert report.held_out == HeldOutAccuracy(2, 39, report.held_out.snr_db, "b", "logits", None, 1.0)
    assert report.held_out.snr_db == pytest.approx(40, abs=1e-6)
    assert report.passed  # the first row has 32 dB, and the bound there is the one that finds faults
    assert [row.min_snr_db for row in report.comparisons] == [28, 39, 39, 28]


def test_a_held_out_row_below_the_bound_fails() -> None:
    report = verified(SCORES + NOISE, AccuracyBound(41), held_out=(1, 2))
    assert [row.passed for row in report.comparisons] == [True, False, True, True]
    assert not report.passed


def test_held_out_rows_come_before_given_ones_and_these_before_the_packaged_clip() -> None:
    bound = AccuracyBound(30, applies="packaged")
    for held_out, given, name in (((3,), (1,), "d"), ((), (1,), "b"), ((), (), "c")):
        found = verified(SCORES + NOISE, bound, held_out, given).held_out
        assert found is not None
        assert (found.clips, found.input) == (1, name)
    nothing = verified(SCORES + NOISE, AccuracyBound(30))
    assert nothing.held_out is None
    assert any("30 dB" in note for note in nothing.notes)


def test_all_rows_without_a_manifest() -> None:
    report = verified(SCORES + NOISE, AccuracyBound(35, applies="all"))
    assert [row.passed for row in report.comparisons] == [False, True, True, True]


def test_a_tie_is_not_an_equal_class() -> None:
    values = SCORES + NOISE
    values[1] = [0.0, 4.9, 4.95]  # far off, and the highest class is another one
    report = verified(values, AccuracyBound(0.1, 0.9), held_out=(1, 2, 3))
    assert report.held_out is not None
    assert report.held_out.top1 == pytest.approx(2 / 3)
    assert not report.held_out.passed
    assert not report.passed
    assert any("--min-top1" in note for note in report.notes)


def test_nan_is_no_accuracy() -> None:
    values = SCORES + NOISE
    values[2, 0] = np.nan
    report = verified(values, AccuracyBound(10, 0.0), held_out=(1, 2))
    assert report.held_out is not None
    assert report.held_out.snr_db == -np.inf
    assert report.held_out.top1 == 0.5
    assert not report.passed


def test_in_int8_inputs_without_calibrated_ranges_must_not_have_twice_the_signal_as_noise() -> None:
    """Rows a and d are no videos. The verified row b has a root mean square of 5 / sqrt(3)."""
    values = SCORES + NOISE
    for scale, passed in ((1.0, True), (2.2, True), (2.3, False)):
        values[0] = SCORES[0] + scale * np.array([0.0, 4.0, -2.0])  # 2.58 times the scale; b's signal is 2.89
        report = verified(values, AccuracyBound(30), held_out=(1,), precision="int8")
        assert report.comparisons[0].passed is passed
        assert report.comparisons[0].min_snr_db is None
        assert report.top1_agreement == 1
        assert report.passed is passed
    small = SCORES * np.array([[1e-3], [1], [1], [1]])
    golden = replace_inputs(known_golden(small), (1,), ())
    result = run_result(([0], small[:1] + 0.5), ([1], small[1:2]), precision="int8")
    assert evaluate(bounded(result, AccuracyBound(30)), golden, ParityOptions()).passed
    nan = run_result(([0], small[:1] * np.nan), ([1], small[1:2]), precision="int8")
    assert not evaluate(bounded(nan, AccuracyBound(30)), golden, ParityOptions()).passed


def test_in_int8_the_packaged_clip_keeps_its_bound() -> None:
    values = SCORES + NOISE
    values[2] = [1.0, 3.0, 8.0]  # 8.6 dB on the row called video
    report = verified(values, AccuracyBound(30), held_out=(1,), precision="int8")
    assert [row.min_snr_db for row in report.comparisons] == [None, 30, 15, None]
    assert not report.comparisons[2].passed


def test_the_rule_says_that_inputs_that_are_no_videos_are_held_to_less() -> None:
    """Also where nothing is verified, because the user of the artifact gave clips to calibrate and now gives none."""
    for held_out in ((1,), ()):
        report = verified(SCORES + NOISE, AccuracyBound(30), held_out=held_out, precision="int8")
        assert "noise of at most twice the signal on inputs that are no videos" in report.tolerance
        assert "every input" not in report.tolerance


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({PRECISION: "fp32", WEIGHT_DTYPE: "fp32"}, "float32"),
        ({PRECISION: "fp32", WEIGHT_DTYPE: "int8"}, "int8"),
        ({PRECISION: "bf16", WEIGHT_DTYPE: "fp32"}, "bfloat16"),
        ({PRECISION: "fp16", WEIGHT_DTYPE: "fp16"}, "float16"),
        ({PRECISION: "int8", WEIGHT_DTYPE: "fp32"}, "int8"),
    ],
)
def test_an_artifact_is_compared_as_what_it_states(options: dict[str, str], expected: str | None) -> None:
    assert stated_precision(replace(MANIFEST, options={**options})) == expected


def make_clips(*values: float, frames: bool = False) -> CalibrationClips:
    clips = np.array(values, np.float32)[:, np.newaxis]
    names = tuple(f"clip {value:g}" for value in values)
    kept = tuple(np.full((1, 2, 2, 3), value, np.uint8) for value in values) if frames else ()
    return CalibrationClips(clips, clips, names, "", "", frames=kept)


def test_held_out_clips_become_rows_and_one_that_is_there_stays_one() -> None:
    inputs = InputSet.of_rows({"x": np.array([[1.0], [2.0]], np.float32)}, ("one", "two"))
    added = add_held_out(inputs, "x", make_clips(2, 3))
    assert added.names == ("one", "two", "clip 3")
    assert added.held_out == (1, 2)
    np.testing.assert_array_equal(added.feeds[2]["x"], [[3]])
    with_frames = add_held_out(InputSet((), ()), "x", make_clips(7, frames=True))
    assert with_frames.feeds[0]["x"].shape == (1, 1, 2, 2, 3)
    assert 0 not in with_frames.feeds[0]["x"].strides  # compiled packages check the strides of their inputs


def test_batches_of_a_fixed_size_hold_only_held_out_rows_or_none() -> None:
    rows = np.arange(5, dtype=np.float32)[:, np.newaxis]
    inputs = replace(InputSet.of_rows({"x": rows}, ("a", "b", "c", "d", "e")), held_out=(3, 4))
    assert [batch.rows for batch in inputs.batches(2)] == [(0, 1), (2, 0), (3, 4)]
    assert [batch.rows for batch in inputs.batches(None)][-2:] == [(3, 4), (2, 3, 4)]


GIVEN = "sha256:ab 8 clips of 2 videos"
PACKAGED = f"sha256:ab {PACKAGED_CLIPS}"


@pytest.mark.parametrize("precision", MIN_SNRS)
@pytest.mark.parametrize(
    ("recorded", "calibration", "believed", "asked", "factor", "applies", "noted"),
    [
        pytest.param(0.5, PACKAGED, False, None, 1, "packaged", True, id="less than the default, by anybody"),
        pytest.param(0.5, PACKAGED, True, None, 0.5, "packaged", True, id="less, and signed"),
        pytest.param(None, PACKAGED, False, None, 1, "packaged", False, id="the default"),
        pytest.param(1.5, PACKAGED, False, None, 1.5, "packaged", False, id="more than the default"),
        pytest.param(1, GIVEN, False, None, 1, "packaged", True, id="clips of its user, by anybody"),
        pytest.param(1, GIVEN, True, None, 1, "given", False, id="clips of its user, signed"),
        pytest.param(None, None, False, None, 1, "packaged", True, id="no word on clips, by anybody"),
        pytest.param(0.5, GIVEN, False, 0.25, 0.25, "packaged", False, id="--min-snr"),
    ],
)
def test_a_manifest_that_is_not_believed_loosens_nothing(
    precision: ComputePrecision,
    recorded: float | None,
    calibration: str | None,
    believed: bool,
    asked: float | None,
    factor: float,
    applies: Literal["packaged", "given"],
    noted: bool,
) -> None:
    """Numbers are parts of the default of the precision."""
    default = MIN_SNRS[precision]
    stated = {MIN_SNR: recorded and recorded * default, CALIBRATION: calibration}
    options = {**MANIFEST.options, PRECISION: precision, **{key: value for key, value in stated.items() if value}}
    manifest = replace(MANIFEST, options=options)
    artifact = LoadedArtifact(Path("m.onnx"), "onnx", manifest, (), is_believed=believed)
    chosen = ParityOptions(min_snr=asked and asked * default)
    assert make_bound(artifact, chosen) == AccuracyBound(factor * default, None, applies)
    assert bool(describe_weak_bound(artifact, chosen)) == noted
    assert not describe_weak_bound(artifact, ParityOptions(rtol=0.1))
    with_clips = describe_weak_bound(artifact, ParityOptions(clips=("a.mp4",)))
    assert bool(with_clips) == (recorded == 0.5)  # what clips are held to is still another minimum
