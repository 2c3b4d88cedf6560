"""What computes a node: a kernel, onnx's evaluator, or onnxruntime in float64, then in float32."""

from typing import Any

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime, evaluator, in_onnxruntime, make_model
from onnx import helper

from exporter.engines.reference import operators
from exporter.engines.reference.kernels import KERNELS
from exporter.engines.reference.operators import NodeError
from exporter.onnx_io.dtypes import element_type

X = np.linspace(-2, 2, 12).astype(np.float32).reshape(3, 4)


def run(node: Any, feeds: dict[str, Any]) -> tuple[Any, Any]:
    graph = evaluator(make_model(node, feeds))
    wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in feeds.items()}
    values = graph.run(wide)
    return values[graph.outputs[0]], graph.operators[0]


def test_onnx_computes_what_has_no_kernel() -> None:
    y, operator = run(helper.make_node("Cosh", ["x"], ["y"]), {"x": X})
    assert operator.computed_by == operators.IN_ONNX
    assert np.array_equal(y, np.cosh(X.astype(np.float64)))


def test_onnxruntime_computes_in_float64_what_onnx_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "DISTRUSTED", {("", "Exp"): lambda _: True})
    y, operator = run(helper.make_node("Exp", ["x"], ["y"]), {"x": X})
    assert operator.computed_by == "onnxruntime in float64"
    assert not operator.in_float32
    assert np.abs(y - np.exp(X.astype(np.float64))).max() < 1e-12


def test_onnxruntime_computes_in_float32_what_nothing_else_can() -> None:
    node = helper.make_node("MultiHeadAttention", ["x", "x", "x"], ["y"], domain="com.microsoft", num_heads=2)
    feeds = {"x": X[None]}
    y, operator = run(node, feeds)
    assert operator.in_float32
    assert y.dtype == np.float64
    assert np.array_equal(y, in_onnxruntime(make_model(node, feeds), feeds)[0])


@pytest.mark.parametrize("target", ["int4", "uint2"])
def test_casts_to_few_bits_round_as_onnxruntime_does(target: str) -> None:
    x = np.array([-2.6, -0.5, 0.7, 1.5, 2.5, 9.0], np.float32)
    y, operator = run(helper.make_node("Cast", ["x"], ["y"], to=element_type(target)), {"x": x})
    assert operator.computed_by == "onnxruntime in float64"
    bits = {"int4": 4, "uint2": 2}[target]
    rounded = np.array([-3, -1, 1, 2, 3, 9])  # half of a unit away from zero
    assert np.array_equal(y.astype(int) % 2**bits, rounded % 2**bits)


@pytest.mark.parametrize(
    ("operator", "gates", "attributes"),
    [
        ("LSTM", 4, {"clip": 0.5}),
        ("LSTM", 4, {"input_forget": 1}),
        ("GRU", 3, {"activations": ["HardSigmoid", "Softsign"]}),
        ("RNN", 1, {"clip": 0.5}),
    ],
)
def test_attributes_of_recurrent_nodes_that_onnx_ignores(operator: str, gates: int, attributes: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    sizes = {"x": (4, 2, 3), "w": (1, gates * 5, 3), "r": (1, gates * 5, 5)}
    feeds = {name: generator.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    node = helper.make_node(operator, [*feeds], ["y"], hidden_size=5, **attributes)
    assert_equal_to_onnxruntime(node, feeds, 14, kernel=False)


def test_activations_that_are_the_usual_ones_are_computed_in_float64() -> None:
    generator = np.random.default_rng(0)
    sizes = {"x": (4, 2, 3), "w": (2, 20, 3), "r": (2, 20, 5)}
    feeds = {name: generator.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    names = ["Sigmoid", "Tanh", "Tanh"] * 2
    node = helper.make_node("LSTM", [*feeds], ["y"], hidden_size=5, direction="bidirectional", activations=names)
    assert run(node, feeds)[1].computed_by == operators.IN_ONNX


def test_a_kernel_that_does_not_cover_a_form_is_passed_over() -> None:
    assert ("", "MaxPool") in KERNELS
    feeds = {"x": np.zeros((1, 1, 3, 3, 3, 3), np.float32)}
    with pytest.raises(NodeError, match=r"y \(MaxPool\): "):
        run(helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2] * 3), feeds)


def test_an_unknown_operator_is_named() -> None:
    with pytest.raises(NodeError, match=r"here \(Fancy\): no evaluator knows this operator of domain theirs"):
        run(helper.make_node("Fancy", ["x"], ["y"], domain="theirs", name="here"), {"x": X})


def test_sequence_lengths_of_a_recurrent_node() -> None:
    """onnx's evaluator ignores them, so it is not what computes the node."""
    generator = np.random.default_rng(0)
    shapes = {"x": (5, 3, 2), "w": (1, 8, 2), "r": (1, 8, 2), "b": (1, 16)}
    feeds: dict[str, Any] = {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    node = helper.make_node("LSTM", [*feeds, "lengths"], ["y", "h"], hidden_size=2)
    assert_equal_to_onnxruntime(node, feeds | {"lengths": np.array([5, 2, 1], np.int32)}, kernel=False)
