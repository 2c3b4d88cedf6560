"""The numbers at which a reference's activations end."""

from pathlib import Path

import numpy as np
from helpers.graphs import graph, node, save
from onnx import helper

from exporter.parity.activation_bounds import read_bounds
from exporter.parity.sources import FileSource


def bounds(path: Path) -> tuple[float, ...]:
    return read_bounds(FileSource(path, "onnx"))


def test_those_of_clips_maxima_and_minima(tmp_path: Path) -> None:
    arrays = {
        "low": np.array(-1, np.float32),
        "high": np.array(2.5, np.float32),
        "least": np.array([0.5], np.float32),
        "many": np.arange(3, dtype=np.float32),
        "none": np.array(np.finfo(np.float32).max),
    }
    nodes = [
        node("Clip", "x low high", "a"),
        node("Max", "a least", "b"),
        node("Min", "b many", "c"),
        node("Clip", "c none", "y"),
    ]
    path = save(tmp_path / "m.onnx", graph(nodes, {"x": ("n", 3)}, {"y": ("n", 3)}, arrays, 21))
    assert bounds(path) == (-1, 0, 0.5, 2.5)


def test_a_clip_of_an_old_opset_states_them_as_attributes(tmp_path: Path) -> None:
    clip = helper.make_node("Clip", ["x"], ["y"], min=-3.0, max=4.0)
    path = save(tmp_path / "m.onnx", graph([clip], {"x": ("n", 3)}, {"y": ("n", 3)}, {}, 7))
    assert bounds(path) == (-3, 0, 4)


def test_a_file_in_int8_may_have_left_out_a_relu6(tmp_path: Path) -> None:
    arrays = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    path = save(tmp_path / "m.onnx", graph(nodes, {"x": ("n", 3)}, {"y": ("n", 3)}, arrays, 21))
    assert bounds(path) == (0, 6)
