"""Faults in labels, masks, indices and several outputs are detected; random networks are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.fault_injection.faults import FAULTS, FaultType
from exporter.fault_injection.faults.decisions import DECISIONS
from exporter.fault_injection.results import SampleResult, SelfTestOptions
from exporter.fault_injection.samples import SAMPLES, run_samples

OTHERS = ("weights scaled by 1 %", "weights scaled by 0.1 %", "bias dropped", "items mixed by 0.1 %", "softmax added")
BY_NAME = {sample.name: sample for sample in SAMPLES}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleResult]:
    types: list[FaultType] = [*DECISIONS, *(row for row in FAULTS if row.name in OTHERS)]
    found = run_samples(types, SelfTestOptions(quick=True), tmp_path_factory.mktemp("samples"))
    return {result.name: result for result in found}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("labels", {"labels shifted by one", "lowest class for the highest", "weights scaled by 1 %"}),
        (
            "several outputs",
            {"mask inverted", "threshold of zero", "rounded down", "two outputs exchanged", "softmax added"},
        ),
        ("indices", {"lowest of the top k", "bias dropped"}),
    ],
)
def test_faults_in_decisions_are_detected(name: str, kinds: set[str], results: dict[str, SampleResult]) -> None:
    result = results[name]
    assert result.passed
    assert result.accepted
    assert kinds <= {fault.kind for fault in result.of("detected")}
    assert not result.of("invalid")


def test_faults_beside_a_weight_that_is_stored_in_float16_are_detected(results: dict[str, SampleResult]) -> None:
    """45 dB would cover a layer that is scaled by 0.1 %, which is 60 dB below the signal."""
    result = results["weights stored in float16"]
    assert result.passed
    assert result.accepted
    assert {"weights scaled by 0.1 %", "bias dropped"} <= {fault.kind for fault in result.of("detected")}


@pytest.mark.parametrize("name", ["float16", "int8"])
def test_faults_as_small_as_the_rounding_of_few_bits_are_detected(name: str, results: dict[str, SampleResult]) -> None:
    result = results[name]
    assert result.passed
    assert result.accepted
    assert {*OTHERS} <= {fault.kind for fault in result.of("detected")}


@pytest.mark.parametrize("name", ["random numbers", "dropout in training mode"])
def test_networks_that_draw_random_numbers_are_refused(name: str, results: dict[str, SampleResult]) -> None:
    assert results[name].passed
    assert "draws random numbers at" in (results[name].refusal or "")


def test_a_random_network_that_is_accepted_fails_the_self_test(tmp_path: Path) -> None:
    sample = replace(BY_NAME["labels"], repeatable=False)
    (result,) = run_samples((), SelfTestOptions(), tmp_path, samples=[sample])
    assert result.accepted
    assert not result.passed
