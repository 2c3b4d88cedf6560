"""Which numbers the levels of a weight stand for."""

from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import graph, node, save

from exporter.onnx_io.rounded_weights import read_rounded_weights

SCALES = np.array([0.5, 0.25, 2, 1], np.float32)


@pytest.mark.parametrize("channels", [3, 4])
def test_scales_of_the_channels_of_an_integer_convolution(channels: int, tmp_path: Path) -> None:
    """They multiply its result, whose channels are the second axis; the weight's are the first."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("ConvInteger", "q w z", "c"),
        node("Cast", "c", "f", to=1),
        node("Mul", "s ws", "scale"),
        node("Mul", "f scale", "y"),
    ]
    arrays = {"w": np.ones((4, channels, 1, 1, 1), np.int8), "ws": SCALES.reshape(4, 1, 1, 1)}
    inputs = {"x": (1, channels, 2, 2, 2)}
    path = save(tmp_path / "m.onnx", graph(nodes, inputs, {"y": (1, 4, 2, 2, 2)}, arrays, opset=21))
    (weight,) = read_rounded_weights(path)
    assert weight.scale is not None
    real = np.broadcast_to(weight.values * weight.scale, weight.values.shape)
    assert real[:, -1, 0, 0, 0].tolist() == SCALES.tolist()
