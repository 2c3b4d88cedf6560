"""What `inspect` says of the options that a manifest records."""

from dataclasses import replace

import pytest
from helpers.manifests import MANIFEST

from exporter.artifacts.manifest_fields import OptionValue, ParityRecord, StructureRecord
from exporter.workflows.manifest_facts import manifest_facts

LAYERS = [f"conv{number} (Conv)" for number in range(9)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (False, "no"),
        (None, "none"),
        (30.0, "30.0"),
        ("percentile", "percentile"),
        ([], "none"),
        (["min-max: 28.4 dB", "entropy: 29.1 dB"], "min-max: 28.4 dB, entropy: 29.1 dB"),
        ([f"{layer}: int8" for layer in LAYERS] + ["fc6 (Gemm): fp32"], "9 x int8, 1 x fp32"),
        ([f"pass-{number}" for number in range(6)], "pass-0, pass-1, pass-2, pass-3 and 2 more"),
    ],
)
def test_an_option_is_a_fact_of_its_own(value: OptionValue, shown: str) -> None:
    facts = manifest_facts(replace(MANIFEST, options={"decisions": value}))
    assert facts["option decisions"] == shown


def test_the_comparison_without_rounding() -> None:
    def describe(structure: StructureRecord | None) -> str | None:
        record = ParityRecord(True, "onnxruntime", "cpu", 8, 0.1, structure)
        return manifest_facts(replace(MANIFEST, parity=record)).get("graph at export")

    assert describe(None) is None
    assert describe(StructureRecord(None, None, 4, 4)) == "not compared without its rounding"
    found = describe(StructureRecord(True, 0.25, 11, 9))
    assert found is not None
    assert "equals" in found
    assert "25%" in found
    assert "9 of 11" in found
