"""What a self-test prints."""

import io
from dataclasses import replace

from rich.console import Console

from exporter.fault_injection.results import CleanRuns, FaultResult, SampleResult, SelfTestReport
from exporter.reports.self_test import print_self_test, self_test_to_dict

CAUGHT = FaultResult("bias dropped", "a lost bias", "conv1", "detected", "random", 12.5, located="layer", named="conv1")
WRONG = FaultResult("bias dropped", "a lost bias", "conv2", "detected", "random", 1e9, located="elsewhere", named="fc6")
BELOW = FaultResult("one [bit]", "a flipped bit", "conv1", "below_tolerance", "zeros", 0.1, float64_budget_used=0.2)
MISSED = FaultResult("one [bit]", "a flipped bit", "conv2", "undetected", "zeros", 0.96, float64_budget_used=1.02)
REFUSED = FaultResult("padding", "a crop", "conv3a", "invalid", "", 0.0, reason="no kernel")


def report(*faults: FaultResult, false_positives: tuple[str, ...] = ()) -> SelfTestReport:
    clean = CleanRuns(20, false_positives, 0.25)
    return SelfTestReport("a/c3d.onnx", "onnxruntime", "within 8 times", ("random",), 2, faults, clean, {"faults": 3.0})


def printed(value: SelfTestReport) -> str:
    stream = io.StringIO()
    print_self_test(value, Console(file=stream, width=80, highlight=False, soft_wrap=True))
    return stream.getvalue()


def test_a_good_result() -> None:
    text = printed(report(CAUGHT, BELOW))
    assert text.startswith("self-test of a/c3d.onnx")
    assert "faults   2 of 2 types: 1 of 1 larger than the budget detected, 1 smaller than it\n" in text
    assert "layers   1 of 1 named exactly" in text
    assert "clean    20 runs of the unmodified artifact, 0 failed; at most 25% of the budget used" in text
    assert "result   passed: " in text
    assert "…" not in text


def test_undetected_invalid_and_mislocalized_faults_are_listed() -> None:
    text = printed(report(CAUGHT, WRONG, BELOW, MISSED, REFUSED))
    assert "missed   one [bit], conv2: 0.96 of the budget in float32, 1.02 in float64" in text
    assert "invalid  padding, conv3a: no kernel" in text
    assert "layer    bias dropped, conv2: localized at fc6" in text
    assert "2 of 3 larger than the budget detected, 1 smaller than it, 1 that the engine does not run" in text
    assert "result   FAILED: a fault larger than the budget was not detected" in text


def test_a_false_positive_fails() -> None:
    text = printed(report(CAUGHT, false_positives=("random, logits",)))
    assert "failed   random, logits" in text
    assert "FAILED: the unmodified artifact failed" in text


def test_the_object_counts() -> None:
    reported = self_test_to_dict(report(CAUGHT, WRONG, BELOW, MISSED))
    assert reported["passed"] is False
    assert reported["outcomes"] == {"detected": 2, "below_tolerance": 1, "undetected": 1, "invalid": 0}
    assert reported["located"] == {"layer": 1, "between": 0, "elsewhere": 1}


def test_small_networks_are_listed_and_one_that_is_not_refused_fails() -> None:
    labels = SampleResult("labels", True, True, None, (CAUGHT, BELOW))
    noise = SampleResult("noise", False, False, "draws random numbers")
    text = printed(replace(report(CAUGHT), samples=(labels, noise)))
    assert "sample   labels: 1 of 1 faults detected, 1 smaller than the budget" in text
    assert "sample   noise: refused" in text
    assert "result   passed" in text
    accepted = replace(noise, accepted=True, refusal=None)
    failed = printed(replace(report(CAUGHT), samples=(replace(labels, faults=(MISSED,)), accepted)))
    assert "sample   noise: NOT refused" in failed
    assert "missed   labels: one [bit], conv2" in failed
    assert "result   FAILED: a fault in a small network was not detected" in failed
