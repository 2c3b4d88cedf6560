"""First layers in float16 get a multiple of 8 channels, and give the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal, rewrite, run_float64, run_onnxruntime

from exporter.passes.float16 import Float16
from exporter.passes.tensor_core_stem import TensorCoreStem

SIZE = (5, 10, 12)
POOL = {"kernel_shape": [1, 2, 2], "strides": [1, 2, 2]}


def stem(channels: int, kernel: tuple[int, ...], pooled: bool = True, **conv: Any) -> onnx.ModelProto:
    held = {"w": normal(6, channels, *kernel), "b": normal(6)}
    nodes = [node("Conv", "x w b", "c", **conv), node("Relu", "c", "r")]
    nodes.append(node("MaxPool", "r", "y", **POOL) if pooled else node("Neg", "r", "y"))
    return graph(nodes, {"x": ("n", channels, *SIZE)}, {"y": ("n", *"abcd")}, held)


@pytest.mark.parametrize(
    ("model", "channels", "images"),
    [
        (stem(3, (3, 3, 3), pads=[1] * 6), 3, 24),
        (stem(1, (3, 3, 3), pads=[1] * 6), 1, 8),
        (stem(2, (4, 2, 3), strides=[1, 2, 1]), 2, 8),
        (stem(3, (7, 7, 7), False, strides=[1, 2, 2], pads=[3] * 6), 3, 24),
        (stem(4, (3, 3, 3), dilations=[2, 1, 1], pads=[2, 1, 1] * 2), 4, 16),
        (stem(3, (1, 3, 3)), 3, 24),
    ],
    ids=["C3D", "grey", "strided", "R3D", "dilated", "frames"],
)
def test_a_stem_has_a_multiple_of_8_channels(
    model: onnx.ModelProto, channels: int, images: int, tmp_path: Path
) -> None:
    feeds = {"x": normal(2, channels, *SIZE)}
    half = rewrite(Float16(), model).model
    done = rewrite(TensorCoreStem(), half)
    assert done.modified
    found = onnx.shape_inference.infer_shapes(done.model, data_prop=True)
    sizes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in found.graph.value_info
    }
    conv = next(made for made in done.model.graph.node if made.op_type == "Conv")
    assert [len(sizes[name]) for name in conv.input[:2]] == [4, 4]
    assert sizes[conv.input[1]][1] == images
    assert onnx.numpy_helper.to_array(
        next(held for held in done.model.graph.initializer if held.name == "w")
    ).shape == tuple(model.graph.initializer[0].dims)
    exact = run_float64(model, feeds, tmp_path)["y"]
    for found in (run_onnxruntime(half, feeds)["y"], run_onnxruntime(done.model, feeds)["y"]):
        assert np.abs(found - exact).max() <= 2e-3 * np.abs(exact).max()


def test_an_infinite_number_reaches_no_other_frame() -> None:
    feeds = {"x": normal(1, 3, *SIZE)}
    feeds["x"][0, 0, 0, 0, 0] = np.inf
    half = rewrite(Float16(), stem(3, (3, 3, 3), pads=[1] * 6)).model
    values = run_onnxruntime(rewrite(TensorCoreStem(), half).model, feeds)["y"]
    assert np.isfinite(values[0, :, 2:]).all()
    assert not np.isfinite(values[0, :, :2]).all()


@pytest.mark.parametrize(
    "model",
    [
        stem(3, (3, 3, 3)),
        rewrite(Float16(), stem(8, (3, 3, 3))).model,
        rewrite(Float16(), stem(4, (3, 3, 3), auto_pad="SAME_UPPER")).model,
    ],
    ids=["float32", "8 channels", "automatic padding"],
)
def test_others_are_left(model: onnx.ModelProto) -> None:
    assert not rewrite(TensorCoreStem(), model).modified
