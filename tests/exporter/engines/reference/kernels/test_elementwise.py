"""Activations in float64 equal onnxruntime's, NaN and infinities included."""

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime
from onnx import TensorProto, helper

X = np.array([[-np.inf, -3, -0.5, 0], [0.25, 2, 7, np.inf]], np.float32)


@pytest.mark.parametrize("operator", ["Erf", "Gelu", "LeakyRelu", "Relu", "Sigmoid"])
def test_activation(operator: str) -> None:
    x = X if operator != "Gelu" else X[1:, :3]  # -inf times 0 is NaN in some of onnxruntime's kernels
    assert_equal_to_onnxruntime(helper.make_node(operator, ["x"], ["y"]), {"x": x})


@pytest.mark.parametrize("target", ["int32", "uint32"])
def test_the_bits_of_float32_are_those_of_the_file_s_type(target: str) -> None:
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    assert_equal_to_onnxruntime(helper.make_node("BitCast", ["x"], ["y"], to=to), {"x": X}, 26)


@pytest.mark.parametrize("source", ["int32", "int64"])
def test_bits_become_floats(source: str) -> None:
    x = np.array([[3, 1 << 30], [0, 1077936128]], source)
    to = {"int32": TensorProto.FLOAT, "int64": TensorProto.DOUBLE}[source]
    assert_equal_to_onnxruntime(helper.make_node("BitCast", ["x"], ["y"], to=to), {"x": x}, 26)


def test_attributes() -> None:
    x = {"x": X[:, 1:3]}
    assert_equal_to_onnxruntime(helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.3), x)
    assert_equal_to_onnxruntime(helper.make_node("Gelu", ["x"], ["y"], approximate="tanh"), x)
    slope = np.array([[0.1], [2]], np.float32)
    assert_equal_to_onnxruntime(helper.make_node("PRelu", ["x", "slope"], ["y"]), x | {"slope": slope})
