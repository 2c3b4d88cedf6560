"""Where a float16 file overflows by itself, an artifact of it may; elsewhere it may not."""

from pathlib import Path

import numpy as np
import onnx
from helpers import parity
from helpers.graphs import make_model, node
from onnx import TensorProto, helper

from exporter.results import ParityReport

LARGE, SMALL = 400.0, 0.5
"""Squares of saturated pixels (255) times these: beyond float16's 65504, and within it."""


def squares(path: Path, factor: float) -> Path:
    """Write a float16 network: (x * factor)^2 + x."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["n", 8]) for name in ("x", "y")]
    nodes = [node("Mul", "x f", "a"), node("Mul", "a a", "b"), node("Add", "b x", "y")]
    weights = {"f": np.full(8, factor, np.float16)}
    onnx.save(make_model(nodes, ports[:1], ports[1:], weights, 18), path)
    return path


def verify(mine: Path, theirs: Path) -> ParityReport:
    return parity.verify(mine, theirs, input_types=("uniform", "saturated", "zeros"))


def test_a_float16_file_that_overflows_on_large_inputs_passes_against_itself_and_says_so(tmp_path: Path) -> None:
    theirs = squares(tmp_path / "theirs.onnx", LARGE / 2)
    report = verify(theirs, theirs)
    assert report.passed
    assert any(note.startswith("float16 overflows on") and "saturated" in note for note in report.notes)


def test_an_overflow_that_the_reference_file_does_not_have_fails(tmp_path: Path) -> None:
    theirs, mine = squares(tmp_path / "theirs.onnx", SMALL), squares(tmp_path / "mine.onnx", LARGE)
    report = verify(mine, theirs)
    assert not report.passed
    assert [row.passed for row in report.comparisons if row.input == "saturated"] == [False]
