"""onnxruntime's own operators in float64 equal its float32 kernels."""

from typing import Any

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime, in_float64, make_model
from onnx import helper

GENERATOR = np.random.default_rng(0)


def arrays(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name: GENERATOR.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


ROWS = arrays(x=(2, 3, 8), skip=(2, 3, 8), gamma=(8,), beta=(8,), bias=(8,))
IMAGES = arrays(x=(1, 4, 6, 6), w=(4, 4, 3, 3), b=(4,), z=(1, 4, 6, 6))
CASES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "Gelu": ("Gelu", ["x"], {}),
    "BiasGelu": ("BiasGelu", ["x", "bias"], {}),
    "FastGelu": ("FastGelu", ["x", "bias"], {}),
    "SkipLayerNormalization": ("SkipLayerNormalization", ["x", "skip", "gamma", "beta", "bias"], {"epsilon": 1e-3}),
    "SkipSimplifiedLayerNormalization": ("SkipSimplifiedLayerNormalization", ["x", "skip", "gamma"], {"epsilon": 1e-3}),
    "FusedConv": ("FusedConv", ["x", "w", "b"], {"activation": "Relu", "pads": [1] * 4}),
    "FusedConv, LeakyRelu": ("FusedConv", ["x", "w", "b"], {"activation": "LeakyRelu", "activation_params": [0.2]}),
    "FusedConv, sum": ("FusedConv", ["x", "w", "b", "z"], {"activation": "Relu", "pads": [1] * 4}),
}


@pytest.mark.parametrize("case", [*CASES])
def test_contributed_operator(case: str) -> None:
    operator, inputs, attributes = CASES[case]
    source = IMAGES if operator == "FusedConv" else ROWS
    node = helper.make_node(operator, inputs, ["y"], domain="com.microsoft", **attributes)
    assert_equal_to_onnxruntime(node, {name: source[name] for name in inputs}, error=1e-4)


def test_the_sum_is_an_output() -> None:
    given = {name: ROWS[name] for name in ("x", "skip", "gamma")}
    for operator in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"):
        node = helper.make_node(operator, [*given], ["y", "", "", "sum"], domain="com.microsoft")
        _, total = in_float64(make_model(node, given), given)
        assert np.array_equal(total, given["x"].astype(np.float64) + given["skip"])
