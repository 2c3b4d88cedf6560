"""JUnit XML: every CI counts the same failures, and names no control character."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.reports import bare, comparison

from exporter.errors import OutputError
from exporter.reports.junit import junit, write_junit
from exporter.results import Localization


def suites(*reports: object) -> list[ET.Element]:
    root = ET.fromstring(junit(reports))  # pyright: ignore
    assert root.tag == "testsuites"
    return [*root]


def test_a_case_for_each_comparison() -> None:
    (suite,) = suites(bare(("random", 1e-6), ("video", 1e-3)))
    assert suite.attrib == {
        "name": "a/c3d.onnx in onnxruntime 1.32.0 (cpu)",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "time": "13.200",
    }
    good, bad = suite
    assert (good.attrib["classname"], good.attrib["name"]) == ("a/c3d.onnx", "random, logits, batch 1")
    assert good.findtext("system-out") == "error 1.000e-06, budget 8.000e-06, 0.125 of it used"
    assert good.find("failure") is None
    failure = bad.find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "error 1.000e-03, budget 8.000e-06, 125 of it used"
    assert failure.text == "tolerance: within 8 times PyTorch float32's own error"


def test_the_layer_and_the_notes_are_in_the_failure() -> None:
    found = Localization("video", (), "conv3a", "diverges at conv3a: …")
    (suite,) = suites(replace(bare(("video", 1.0)), localization=found, notes=("a note",)))
    assert (
        suite[0].findtext("failure")
        == "tolerance: within 8 times PyTorch float32's own error\ndiverges at conv3a: …\na note"
    )


def test_a_failure_of_another_kind_has_a_case_of_its_own() -> None:
    (suite,) = suites(replace(bare(("random", 0)), passed=False, notes=("3 of 27 nodes ran on another device",)))
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    assert suite[-1].attrib["name"] == "result"
    assert "3 of 27 nodes" in str(suite[-1].findtext("failure"))


def test_a_suite_for_each_artifact_and_names_that_xml_cannot_hold() -> None:
    strange = replace(bare(), artifact="a\x07<&\udcff.onnx", comparisons=(comparison('"\x00', 0),))
    first, second = suites(bare(("random", 0)), strange)
    assert first.attrib["failures"] == "0"
    assert second[0].attrib == {"classname": "a\ufffd<&\ufffd.onnx", "name": '"\ufffd, logits, batch 1'}


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    write_junit(tmp_path / "parity.xml", [bare(("random", 0))])
    assert (tmp_path / "parity.xml").read_bytes().startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites")
    with pytest.raises(OutputError, match="--junit .*: cannot be written: Is a directory"):
        write_junit(tmp_path, [])


def test_discrete_outputs_state_the_share_of_equal_elements() -> None:
    row = replace(comparison("random", 0.25), equal=0.99, budget=0.04, float32_max_error=0.002)
    (suite,) = suites(replace(bare(), comparisons=(row,)))
    assert (
        suite[0].findtext("system-out") == "0.990000 of the elements equal, 0.040000 may differ (float32: 0.002000 do)"
    )
