"""Normalisations in float64 equal onnxruntime's, and the formulas where it has none."""

from typing import Any

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime, in_float64, make_model
from onnx import helper

GENERATOR = np.random.default_rng(0)
X = (GENERATOR.standard_normal((2, 4, 3, 5)) * 3 + 1).astype(np.float32)
BY_CHANNEL = {name: GENERATOR.uniform(0.5, 2, 4).astype(np.float32) for name in ("scale", "bias", "mean", "var")}


def feeds(*names: str) -> dict[str, Any]:
    return {"x": X} | {name: BY_CHANNEL[name] for name in names}


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization(opset: int) -> None:
    given = feeds("scale", "bias", "mean", "var")
    node = helper.make_node("BatchNormalization", [*given], ["y"], epsilon=1e-3)
    assert_equal_to_onnxruntime(node, given, opset)


def test_batch_normalization_in_training_mode() -> None:
    given = feeds("scale", "bias", "mean", "var")
    node = helper.make_node("BatchNormalization", [*given], ["y", "m", "v"], training_mode=1, momentum=0.8)
    y, mean, var = in_float64(make_model(node, given, 15), given)
    x = X.astype(np.float64)
    now = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    centred = (x - now[0][:, None, None]) / np.sqrt(now[1] + np.float32(1e-5))[:, None, None]
    assert np.allclose(y, centred * given["scale"][:, None, None] + given["bias"][:, None, None], rtol=1e-12)
    assert np.allclose(mean, given["mean"] * np.float32(0.8) + now[0] * (1 - np.float32(0.8)), rtol=1e-6)
    assert np.allclose(var, given["var"] * np.float32(0.8) + now[1] * (1 - np.float32(0.8)), rtol=1e-6)


def test_instance_normalization() -> None:
    given = feeds("scale", "bias")
    assert_equal_to_onnxruntime(helper.make_node("InstanceNormalization", [*given], ["y"], epsilon=1e-2), given)


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization(opset: int) -> None:
    size = 2 if opset < 21 else 4
    given = {"x": X} | {name: BY_CHANNEL[name][:size] for name in ("scale", "bias")}
    node = helper.make_node("GroupNormalization", [*given], ["y"], num_groups=2)
    assert_equal_to_onnxruntime(node, given, opset)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_layer_normalization(axis: int) -> None:
    given = {"x": X} | {
        name: GENERATOR.standard_normal(X.shape[axis:]).astype(np.float32) for name in ("scale", "bias")
    }
    node = helper.make_node("LayerNormalization", [*given], ["y", "mean", "inverse"], axis=axis)
    assert_equal_to_onnxruntime(node, given)


@pytest.mark.parametrize("size", [1, 3, 9])
def test_local_response_normalization(size: int) -> None:
    assert_equal_to_onnxruntime(helper.make_node("LRN", ["x"], ["y"], size=size, alpha=0.5, bias=1.5), {"x": X})


def test_mean_variance_normalization() -> None:
    assert_equal_to_onnxruntime(helper.make_node("MeanVarianceNormalization", ["x"], ["y"]), {"x": X}, opset=13)


@pytest.mark.parametrize("attributes", [{}, {"axis": 1, "p": 1}, {"axis": 0, "p": 2}])
def test_lp_normalization(attributes: dict[str, Any]) -> None:
    given = {"x": np.concatenate([X, np.zeros_like(X)], axis=2)}
    assert_equal_to_onnxruntime(helper.make_node("LpNormalization", ["x"], ["y"], **attributes), given)
