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


def product(path: Path, shape: tuple[int, ...], scales: tuple[int, ...]) -> Path:
    """Write Gemm(x, scales * cast levels), in the shapes of levels and scales."""
    nodes = [node("Cast", "w", "f", to=1), node("Mul", "f s", "r"), node("MatMul", "x r", "y")]
    arrays = {
        "w": np.arange(np.prod(shape), dtype=np.int8).reshape(shape),
        "s": (1 + np.arange(np.prod(scales), dtype=np.float32)).reshape(scales),
    }
    return save(path, graph(nodes, {"x": ("n", 4)}, {"y": ("n", 4)}, arrays, opset=21))


@pytest.mark.parametrize("scales", [(4,), (1, 4), (4, 1), (4, 4), (1,), ()])
def test_scales_of_a_product_are_taken_as_the_product_takes_them(scales: tuple[int, ...], tmp_path: Path) -> None:
    path = product(tmp_path / "m.onnx", (4, 4), scales)
    (weight,) = read_rounded_weights(path)
    assert weight.scale is not None
    expected = np.arange(16.0).reshape(4, 4) * (1 + np.arange(np.prod(scales))).reshape(scales)
    assert np.array_equal(weight.values * weight.scale, expected)


@pytest.mark.parametrize(("shape", "scales"), [((4, 1), (1, 4)), ((4, 1), (4,)), ((1, 4), (4, 1)), ((4,), (4, 4))])
def test_levels_that_their_scales_repeat_have_no_scale(
    shape: tuple[int, ...], scales: tuple[int, ...], tmp_path: Path
) -> None:
    """The product is larger than the levels: no weight has that many numbers."""
    for weight in read_rounded_weights(product(tmp_path / "m.onnx", shape, scales)):
        assert weight.scale is None


def test_scales_of_the_rows_of_an_integer_product_are_no_scales_of_its_weight(tmp_path: Path) -> None:
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q w z", "c"),
        node("Cast", "c", "f", to=1),
        node("Mul", "s rows", "scale"),
        node("Mul", "f scale", "y"),
    ]
    arrays = {"w": np.ones((4, 6), np.int8), "rows": np.ones((3, 1), np.float32)}
    path = save(tmp_path / "m.onnx", graph(nodes, {"x": (3, 4)}, {"y": (3, 6)}, arrays, opset=21))
    (weight,) = read_rounded_weights(path)
    assert weight.scale is None
