"""Quantisation in float64 gives onnxruntime's integers, also where the specification leaves them open."""

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime
from onnx import helper

NODE = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])


@pytest.mark.parametrize(
    "values",
    [[0.3, -2.0, 1.7], [1.0, 3.0, 4.0], [-1.0, -3.0], [0.0, 0.0], [1.0, np.nan, -3.0, 0.6], [np.nan]],
    ids=["both signs", "positive", "negative", "zeros", "one NaN", "only NaN"],
)
def test_dynamic_quantize_linear(values: list[float]) -> None:
    assert_equal_to_onnxruntime(NODE, {"x": np.array(values, np.float32)})
