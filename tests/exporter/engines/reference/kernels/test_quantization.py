"""Quantisation in float64 gives onnxruntime's integers, also where the specification leaves them open."""

from typing import Any

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime
from onnx import helper

GENERATOR = np.random.default_rng(0)

NODE = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])


@pytest.mark.parametrize(
    "values",
    [[0.3, -2.0, 1.7], [1.0, 3.0, 4.0], [-1.0, -3.0], [0.0, 0.0], [1.0, np.nan, -3.0, 0.6], [np.nan]],
    ids=["both signs", "positive", "negative", "zeros", "one NaN", "only NaN"],
)
def test_dynamic_quantize_linear(values: list[float]) -> None:
    assert_equal_to_onnxruntime(NODE, {"x": np.array(values, np.float32)})


X = GENERATOR.standard_normal((3, 4, 8)).astype(np.float32)
PER_TENSOR = {"s": np.array(0.03, np.float32)}
PER_AXIS = {"s": GENERATOR.uniform(0.01, 0.1, 4).astype(np.float32)}
BLOCKS = {"s": GENERATOR.uniform(0.01, 0.1, (3, 4, 2)).astype(np.float32)}
SCALES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "per tensor": (PER_TENSOR, {}),
    "per axis": (PER_AXIS, {"axis": 1}),
    "per axis, from behind": (PER_AXIS, {"axis": -2}),
    "in blocks": (BLOCKS, {"axis": 2, "block_size": 4}),
}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16])
@pytest.mark.parametrize("case", SCALES)
def test_quantize_and_dequantize(case: str, dtype: type[np.generic]) -> None:
    given, attributes = SCALES[case]
    zeros = np.full(given["s"].shape, 7, dtype)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], **attributes)
    assert_equal_to_onnxruntime(node, {"x": X, **given, "z": zeros}, opset=21)
    levels = GENERATOR.integers(0, 100, X.shape).astype(dtype)
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], **attributes)
    assert_equal_to_onnxruntime(node, {"x": levels, **given, "z": zeros}, opset=21)


@pytest.mark.parametrize("last", [0, 1])
def test_qlinear_conv(last: int) -> None:
    shape = (2, 5, 6, 7, 4) if last else (2, 4, 5, 6, 7)
    given = {
        "x": GENERATOR.integers(0, 256, shape, dtype=np.uint8),
        "xs": np.array(0.02, np.float32),
        "xz": np.array(5, np.uint8),
        "w": GENERATOR.integers(-127, 128, (6, 4, 3, 3, 3), dtype=np.int8),
        "ws": GENERATOR.uniform(0.01, 0.02, 6).astype(np.float32),
        "wz": np.full(6, 1, np.int8),
        "ys": np.array(0.9, np.float32),
        "yz": np.array(100, np.uint8),
        "b": GENERATOR.integers(-999, 999, 6, dtype=np.int32),
    }
    contrib: dict[str, Any] = {"domain": "com.microsoft", "channels_last": 1} if last else {}
    steps: dict[str, Any] = {"pads": [1] * 6, "strides": [1, 2, 1]}
    assert_equal_to_onnxruntime(helper.make_node("QLinearConv", [*given], ["y"], **steps, **contrib), given)


def test_nhwc_max_pool() -> None:
    given = {"x": GENERATOR.integers(0, 256, (2, 5, 6, 7, 4), dtype=np.uint8)}
    steps: dict[str, Any] = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2], "pads": [0, 1, 1, 0, 1, 1]}
    assert_equal_to_onnxruntime(helper.make_node("NhwcMaxPool", ["x"], ["y"], domain="com.microsoft", **steps), given)
