"""What a self-test prints."""

import io

from rich.console import Console

from exporter.fault_injection.results import CleanRuns, FaultResult, SelfTestReport
from exporter.reports.self_test import print_self_test, self_test_object

CAUGHT = FaultResult("bias dropped", "a lost bias", "conv1", "caught", "random", 12.5, located="layer", named="conv1")
WRONG = FaultResult("bias dropped", "a lost bias", "conv2", "caught", "random", 1e9, located="elsewhere", named="fc6")
BELOW = FaultResult("one [bit]", "a flipped bit", "conv1", "below", "zeros", 0.1, exact_share=0.2)
MISSED = FaultResult("one [bit]", "a flipped bit", "conv2", "missed", "zeros", 0.96, exact_share=1.02)
REFUSED = FaultResult("padding", "a crop", "conv3a", "refused", "", 0.0, reason="no kernel")


def report(*faults: FaultResult, false_positives: tuple[str, ...] = ()) -> SelfTestReport:
    clean = CleanRuns(20, false_positives, 0.25)
    return SelfTestReport("a/c3d.onnx", "onnxruntime", "within 8 times", ("random",), 2, faults, clean, {"faults": 3.0})


def printed(value: SelfTestReport) -> str:
    stream = io.StringIO()
    print_self_test(value, Console(file=stream, width=80, highlight=False, soft_wrap=True))
    return stream.getvalue()


def test_a_good_result() -> None:
    text = printed(report(CAUGHT, BELOW))
    assert "faults   2 of 2 kinds: 1 of 1 above the budget caught, 1 below it\n" in text
    assert "layers   1 of 1 named" in text
    assert "clean    20 runs of the artifact as it is, 0 alarms; the most of the budget used was 25%" in text
    assert "verdict  passed: every fault above the budget was caught" in text
    assert "…" not in text


def test_what_went_wrong_is_told_one_by_one() -> None:
    text = printed(report(CAUGHT, WRONG, BELOW, MISSED, REFUSED))
    assert "missed   one [bit], conv2: 0.96 of the budget in float32, 1.02 in float64" in text
    assert "padding, conv3a: no kernel" in text
    assert "layer    bias dropped, conv2: named fc6" in text
    assert "2 of 3 above the budget caught, 1 below it, 1 refused by the engine" in text
    assert "verdict  FAILED: a fault above the budget was missed" in text


def test_an_alarm_fails() -> None:
    text = printed(report(CAUGHT, false_positives=("random, logits",)))
    assert "alarm    random, logits" in text
    assert "FAILED: the sound artifact raised an alarm" in text


def test_the_object_counts() -> None:
    reported = self_test_object(report(CAUGHT, WRONG, BELOW, MISSED))
    assert reported["passed"] is False
    assert reported["outcomes"] == {"caught": 2, "below": 1, "missed": 1, "refused": 0}
    assert reported["located"] == {"layer": 1, "between": 0, "elsewhere": 1}
