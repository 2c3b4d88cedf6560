"""When a self-test passes."""

import pytest

from exporter.fault_injection.results import CleanRuns, FaultResult, Outcome, SampleResult, SelfTestReport


@pytest.mark.parametrize(
    ("outcomes", "false_positives", "passed"),
    [
        (("detected", "below_tolerance", "invalid"), (), True),
        (("detected", "undetected"), (), False),
        (("below_tolerance",), (), False),
        (("detected",), ("random",), False),
    ],
)
def test_a_report_passes_if_faults_were_detected_and_none_was_undetected(
    outcomes: tuple[Outcome, ...], false_positives: tuple[str, ...], passed: bool
) -> None:
    faults = tuple(FaultResult("type", "cause", "conv1", outcome, "random", 2.0) for outcome in outcomes)
    report = SelfTestReport("a", "r", "t", ("random",), 1, faults, CleanRuns(1, false_positives, 0.5), {})
    assert report.passed is passed


@pytest.mark.parametrize(
    ("sample", "passed"),
    [
        (SampleResult("labels", True, True, None), True),
        (SampleResult("labels", True, False, None), False),
        (SampleResult("labels", True, False, "cannot be run"), False),
        (SampleResult("noise", False, False, "draws random numbers"), True),
        (SampleResult("noise", False, True, None), False),
        (SampleResult("labels", True, True, None, (FaultResult("t", "c", "x", "undetected", "random", 0.5),)), False),
    ],
)
def test_every_sample_must_pass(sample: SampleResult, passed: bool) -> None:
    detected = FaultResult("type", "cause", "conv1", "detected", "random", 2.0)
    report = SelfTestReport("a", "r", "t", ("random",), 1, (detected,), CleanRuns(1, (), 0.5), {}, samples=(sample,))
    assert sample.passed is passed
    assert report.passed is passed
