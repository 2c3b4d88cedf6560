"""Multiply-adds and memory of a graph, by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import graphs

from exporter.engines.reference.cost import estimate_graph
from exporter.engines.reference.kernels import convolution

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    nodes = [
        graphs.node("Conv", "x w", "a", pads=[1] * 6),
        graphs.node("Relu", "a", "b"),
        graphs.node("Add", "a b", "c"),
        graphs.node("Reshape", "c flat", "d"),
        graphs.node("MatMul", "d m", "y"),
    ]
    weights = {
        "w": np.ones((8, 8, 3, 3, 3), np.float32),
        "flat": np.array([0, -1]),
        "m": np.ones((8 * 32**3, 2), np.float32),
    }
    model = graphs.graph(nodes, {"x": ["n", 8, "t", 32, 32]}, {"y": ["n", 2]}, weights)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_cost_by_hand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "WORKSPACE_BYTES", 1)
    cost = estimate_graph(path, {"x": (1, 8, 32, 32, 32)})
    value = 8 * 32**3 * 8  # bytes of x, a, b, c; d is a view of c
    assert value == 2 * MIB
    assert cost.complete
    assert cost.multiply_adds == 8 * 32**3 * 8 * 27 + 8 * 32**3 * 2
    assert cost.layer_bytes == 3 * value + 2 * 8
    assert cost.live_bytes == 3 * value  # a, b and c
    row = 34 * 34 * (8 + 8) * 8  # the padded row of input and output
    assert cost.peak_bytes == max(3 * value, 2 * value + row)
    assert cost.weight_bytes == 8 * (8 * 8 * 27 + 8 * 32**3 * 2)
    assert estimate_graph(path, {"x": (2, 8, 32, 32, 32)}).live_bytes == 2 * cost.live_bytes


def test_unknown_shapes_make_it_a_lower_bound(tmp_path: Path) -> None:
    nodes = [graphs.node("Fancy", "x", "a", domain="theirs"), graphs.node("Relu", "a", "y")]
    onnx.save(graphs.graph(nodes, {"x": [2, 3]}, {"y": None}, {}), tmp_path / "m.onnx")
    assert not estimate_graph(tmp_path / "m.onnx", {"x": (2, 3)}).complete
