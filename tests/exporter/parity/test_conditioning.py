"""Rounding that a model magnifies beyond what one run in float32 shows is no fault; anything else still is."""

from pathlib import Path

import numpy as np
from helpers.graphs import graph, node, normal, save
from helpers.parity import verify

from exporter.onnx_io.signature import read_signature
from exporter.parity.conditioning import disturbed_baseline
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.sources import FileSource

TYPES = ("constant", "random", "zeros")


def centred(path: Path, detour: bool = False, shift: float = 0.5) -> Path:
    """Write 1e4 (x - mean(x)) + shift; with a detour, of x r / r, which is x but for rounding.

    The mean of two equal numbers is exact, so that without the detour their difference from it is.
    """
    x = "b" if detour else "x"
    nodes = [node("Mul", "x r", "a"), node("Mul", "a q", "b")] if detour else []
    nodes += [node("ReduceMean", f"{x} axes", "m"), node("Sub", f"{x} m", "c"), node("Mul", "c k", "d")]
    nodes.append(node("Add", "d t", "y"))
    weights = {"axes": np.array([2]), "k": np.array(1e4, np.float32), "t": np.array(shift, np.float32)}
    if detour:
        weights["r"] = np.array([[0.3, 1.7], [0.7, 1.3]], np.float32)
        weights["q"] = 1 / weights["r"]
    return save(path, graph(nodes, {"x": ("n", 2, 2)}, {"y": ("n", 2, 2)}, weights))


def test_an_error_that_the_input_s_own_rounding_explains_passes(tmp_path: Path) -> None:
    theirs, mine = centred(tmp_path / "theirs.onnx"), centred(tmp_path / "mine.onnx", detour=True)
    report = verify(mine, theirs, input_types=TYPES)
    assert report.passed
    (row,) = (row for row in report.comparisons if row.input == "constant")
    assert row.max_error > 1e-3  # of 0.5


def test_a_fault_on_the_same_inputs_fails(tmp_path: Path) -> None:
    theirs, mine = centred(tmp_path / "theirs.onnx"), centred(tmp_path / "mine.onnx", detour=True, shift=0.6)
    failed = {row.input for row in verify(mine, theirs, input_types=TYPES).comparisons if not row.passed}
    assert failed >= {"random", "zeros"}


def test_a_model_that_magnifies_nothing_keeps_its_baseline(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx", graph([node("MatMul", "x w", "y")], {"x": ("n", 8)}, {"y": ("n", 8)}, {"w": normal(8, 8)})
    )
    golden = GoldenOutputs(
        FileSource(path, "onnx", read_signature(path)), InputSet.of_rows({"x": normal(2, 8)}, ["a", "b"])
    )
    golden.compute([0, 1])
    assert disturbed_baseline(golden, "y", [0, 1]) is None
