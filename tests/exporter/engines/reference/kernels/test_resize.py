"""Upsample in every opset that has it."""

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime
from onnx import helper

X = np.random.default_rng(0).standard_normal((1, 2, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode: str) -> None:
    scales = np.array([1, 1, 2, 3], np.float32)
    node = helper.make_node("Upsample", ["x", "scales"], ["y"], mode=mode)
    assert_equal_to_onnxruntime(node, {"x": X, "scales": scales}, opset=9)
    node = helper.make_node("Upsample", ["x"], ["y"], mode=mode, scales=scales.tolist())
    assert_equal_to_onnxruntime(node, {"x": X}, opset=7)
