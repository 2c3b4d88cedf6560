"""A C3D as an ONNX graph whose weights have names that say nothing, made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from helpers.checkpoints import narrow_state

CHAIN_STATE = {name: value.numpy() for name, value in narrow_state().items()}
POOLED = {"conv1": (1, 2, 2), "conv2": (2, 2, 2), "conv3b": (2, 2, 2), "conv4b": (2, 2, 2), "conv5b": (2, 2, 2)}


class _Chain:
    """Makes the nodes of a chain; the weights get names that say nothing."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, operator: str, *weights: Any, at: int = 1, **attributes: Any) -> None:
        names = [f"onnx::{operator}_{len(self.weights) + n}" for n in range(len(weights))]
        self.weights += [
            numpy_helper.from_array(np.ascontiguousarray(w), n) for w, n in zip(weights, names, strict=True)
        ]
        inputs = [*names[: at - 1], f"v{len(self.nodes)}", *names[at - 1 :]]
        self.nodes.append(helper.make_node(operator, inputs, [f"v{len(self.nodes) + 1}"], **attributes))


def make_chain(*, linear: str = "Gemm", auto_pad: bool = False, pool5: dict[str, Any] | None = None) -> GraphProto:
    """Return the graph.

    Args:
        linear: `Gemm` or `MatMul` with weights (inputs, outputs), or `transB`: a Gemm with (outputs, inputs).
        auto_pad: pad as TensorFlow's SAME.
        pool5: its attributes beside the windows.
    """
    made = _Chain()
    same: dict[str, Any] = {"auto_pad": "SAME_UPPER"}
    padded: dict[str, Any] = {"pads": [1] * 6}
    for layer in [name.removesuffix(".bias") for name in CHAIN_STATE if name.endswith("bias")]:
        weight, bias = CHAIN_STATE[f"{layer}.weight"], CHAIN_STATE[f"{layer}.bias"]
        if weight.ndim == 5:
            made.add("Conv", weight, bias, kernel_shape=[3] * 3, **(same if auto_pad else padded))
        elif linear == "MatMul":
            made.add("MatMul", weight.T)
            made.add("Add", bias, at=2 if layer == "fc7" else 1)
        else:
            made.add("Gemm", weight if linear == "transB" else weight.T, bias, transB=int(linear == "transB"))
        if layer != "fc8":
            made.add("Relu")
        if layer in POOLED:
            last = pool5 or {"pads": [0, 1, 1, 0, 1, 1]} if layer == "conv5b" else {}
            window = POOLED[layer]
            made.add("MaxPool", kernel_shape=window, strides=window, **(same if auto_pad else last))
        if layer == "conv5b":
            made.add("Reshape", np.array([0, -1]))
        if layer in ("fc6", "fc7"):
            made.add("Dropout")
    ends = [
        helper.make_tensor_value_info("v0", TensorProto.FLOAT, ["n", 3, 16, 112, 112]),
        helper.make_tensor_value_info(f"v{len(made.nodes)}", TensorProto.FLOAT, None),
    ]
    return helper.make_graph(made.nodes, "g", ends[:1], ends[1:], made.weights)


def save_graph(path: Path, graph: GraphProto) -> Path:
    onnx.save(helper.make_model(graph), str(path))
    return path
