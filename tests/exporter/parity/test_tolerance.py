"""The budgets of fewer bits, by hand."""

import math

import numpy as np
import pytest

from exporter.parity.compare import Expected, compare
from exporter.parity.tolerance import SNR_TOLERANCES, AllcloseTolerance, Float32RelativeTolerance, select_tolerance
from exporter.results import Precision
from exporter.types import ParityOptions

EXACT = np.array([[3.0, -4.0, 0.0, 5.0]])  # its root mean square is sqrt(12.5)


@pytest.mark.parametrize(("kind", "least"), [("float16", 45), ("bfloat16", 28), ("int8", 15)])
def test_the_ratio_of_signal_to_noise_decides(kind: Precision, least: float) -> None:
    rule = SNR_TOLERANCES[kind]
    for decibels, passed in ((least + 0.1, True), (least - 0.1, False)):
        noise = math.sqrt(50) * 10 ** (-decibels / 20)
        answer = EXACT + np.array([[noise, 0, 0, 0]])
        row = compare("x", "fc6", answer, Expected(EXACT, EXACT.astype(np.float32)), rule)
        assert row.snr_db == pytest.approx(decibels)
        assert row.passed is passed
        assert row.budget_used == pytest.approx(10 ** ((least - decibels) / 20))
    assert f"{kind}: signal to noise at least {least} dB on every clip" in rule.description


def test_the_cosine_that_is_stated_is_the_one_that_follows() -> None:
    for rule in SNR_TOLERANCES.values():
        stated = float(rule.description.split("cosine at least ")[1].split(")")[0])
        ratio = 10 ** (-rule.min_snr_db / 20)  # noise at right angles to the signal turns it the furthest
        assert stated <= 1 / math.hypot(1, ratio) + 1e-6


def test_which_rule_an_artifact_is_held_to() -> None:
    assert select_tolerance("float32", ParityOptions(), "PyTorch float32") == Float32RelativeTolerance(
        "PyTorch float32"
    )
    assert select_tolerance("float64", ParityOptions(), "it") == Float32RelativeTolerance("it")
    assert select_tolerance("int8", ParityOptions(), "it") is SNR_TOLERANCES["int8"]
    assert select_tolerance("int8", ParityOptions(atol=0.5), "it") == AllcloseTolerance(0, 0.5)


def test_silence_has_no_budget() -> None:
    zeros = np.zeros((1, 4))
    assert compare("z", "fc6", zeros, Expected(zeros, zeros), SNR_TOLERANCES["int8"]).passed
    assert not compare("z", "fc6", zeros + 1e-3, Expected(zeros, zeros), SNR_TOLERANCES["int8"]).passed
