"""Tiny ONNX models, written node by node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, nodes: list[Any], inputs: dict[str, list[Any]], outputs: list[str], **weights: np.ndarray) -> Path:
    """Write a checked float32 model; `inputs` gives each input's sizes, a string for a free one."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def convolution(path: Path, batch: int | str = "batch", channels: int = 4, size: int | str = 8) -> Path:
    """Write x (batch, 3, 4, size, 8) -> convolution, mean, linear layer -> y (batch, 5), the same weights every time."""
    generator = np.random.default_rng(0)
    return save(
        path,
        [
            helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1] * 6),
            helper.make_node("GlobalAveragePool", ["a"], ["b"]),
            helper.make_node("Flatten", ["b"], ["c"]),
            helper.make_node("Gemm", ["c", "v"], ["y"], name="fc"),
        ],
        {"x": [batch, 3, 4, size, 8]},
        ["y"],
        w=generator.standard_normal((channels, 3, 3, 3, 3)).astype("float32"),
        v=generator.standard_normal((channels, 5)).astype("float32"),
    )
