"""Graphs in the float64 evaluator, and the same graphs in onnxruntime."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from exporter.engines.reference.graph import GraphEvaluator
from exporter.engines.reference.operators import OWN_KERNEL, Choice
from exporter.engines.reference.weights import Weights
from exporter.onnx_io.cast import cast_model

Arrays = Mapping[str, Any]


def make_model(node: onnx.NodeProto, inputs: Arrays, opset: int = 20) -> onnx.ModelProto:
    """Return a model of one node, whose inputs have the dtypes and ranks of these arrays."""
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
            for name, value in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(node.domain, 1)] if node.domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def evaluator(model: onnx.ModelProto) -> GraphEvaluator:
    """Return a model's graph in float64."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    choice, graph = Choice("float64"), cast_model(copy, "float64").graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    opsets = {item.domain: item.version for item in model.opset_import}
    return GraphEvaluator(graph, Weights(weights, choice.cast), opsets, choice)


def in_float64(model: onnx.ModelProto, feeds: Arrays) -> list[Any]:
    """Return a model's outputs, evaluated in float64."""
    graph = evaluator(model)
    wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in feeds.items()}
    values = graph.run(wide)
    return [values[name] for name in graph.outputs]


def in_onnxruntime(model: onnx.ModelProto, feeds: Arrays) -> list[Any]:
    """Return a model's outputs in onnxruntime, in its own dtypes."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: Any = session.run(None, dict(feeds))
    return list(outputs)


def assert_equal_to_onnxruntime(
    node: onnx.NodeProto, feeds: Arrays, opset: int = 20, error: float = 1e-5, kernel: bool = True
) -> None:
    """Assert that a node gives in float64 what onnxruntime gives, up to `error` of the largest value.

    Args:
        node: the node.
        feeds: its inputs.
        opset: of ONNX's domain.
        error: the largest difference allowed, relative to the largest value; integers must be equal.
        kernel: whether it must be one of the evaluator's own kernels that computes it.
    """
    model = make_model(node, feeds, opset)
    graph = evaluator(model)
    wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in feeds.items()}
    values = graph.run(wide)
    (operator,) = graph.operators
    assert not kernel or operator.computed_by == OWN_KERNEL
    for name, theirs in zip(graph.outputs, in_onnxruntime(model, feeds), strict=True):
        ours = values[name]
        assert ours.shape == theirs.shape, name
        if theirs.dtype.kind == "f":
            assert ours.dtype == np.float64
            assert np.array_equal(np.isfinite(ours), np.isfinite(theirs))
            finite = np.isfinite(theirs)
            scale = np.abs(theirs[finite]).max(initial=0) or 1
            assert np.abs(ours[finite] - theirs[finite]).max(initial=0) <= error * scale, name
        else:
            assert np.array_equal(ours, theirs), name
