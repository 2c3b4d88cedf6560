"""The budgets of fewer bits, by hand."""

import math

import numpy as np
import pytest

from exporter.parity.compare import Expected, compare
from exporter.parity.tolerance import ACCURACY, FixedRule, MeasuredRule, rule_for
from exporter.types import ParityOptions
from exporter.verdicts import Arithmetic

EXACT = np.array([[3.0, -4.0, 0.0, 5.0]])  # its root mean square is sqrt(12.5)


@pytest.mark.parametrize(("kind", "least"), [("float16", 45), ("bfloat16", 28), ("int8", 15)])
def test_the_ratio_of_signal_to_noise_decides(kind: Arithmetic, least: float) -> None:
    rule = ACCURACY[kind]
    for decibels, passed in ((least + 0.1, True), (least - 0.1, False)):
        noise = math.sqrt(50) * 10 ** (-decibels / 20)
        answer = EXACT + np.array([[noise, 0, 0, 0]])
        row = compare("x", "fc6", answer, Expected(EXACT, EXACT.astype(np.float32)), rule)
        assert row.snr_db == pytest.approx(decibels)
        assert row.passed is passed
        assert row.share == pytest.approx(10 ** ((least - decibels) / 20))
    assert f"{kind}: signal to noise at least {least} dB on every clip" in rule.text


def test_the_cosine_that_is_stated_is_the_one_that_follows() -> None:
    for rule in ACCURACY.values():
        stated = float(rule.text.split("cosine at least ")[1].split(")")[0])
        ratio = 10 ** (-rule.least_snr_db / 20)  # noise at right angles to the signal turns it the furthest
        assert stated <= 1 / math.hypot(1, ratio) + 1e-6


def test_which_rule_an_artifact_is_held_to() -> None:
    assert rule_for("float32", ParityOptions(), "PyTorch float32") == MeasuredRule("PyTorch float32")
    assert rule_for("float64", ParityOptions(), "it") == MeasuredRule("it")
    assert rule_for("int8", ParityOptions(), "it") is ACCURACY["int8"]
    assert rule_for("int8", ParityOptions(atol=0.5), "it") == FixedRule(0, 0.5)


def test_silence_has_no_budget() -> None:
    zeros = np.zeros((1, 4))
    assert compare("z", "fc6", zeros, Expected(zeros, zeros), ACCURACY["int8"]).passed
    assert not compare("z", "fc6", zeros + 1e-3, Expected(zeros, zeros), ACCURACY["int8"]).passed
