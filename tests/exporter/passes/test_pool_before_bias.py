"""Bias and ReLU behind the pooling: the same numbers, fewer of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite

from exporter.engines.base import RuntimeOptions
from exporter.engines.float16_emulation import Float16Emulation
from exporter.passes.float16 import Float16
from exporter.passes.pool_before_bias import PoolBeforeBias

POOL = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
FEEDS = {"x": normal(2, 3, 5, 10, 12)}


def layer(*order: str, pool: dict[str, Any] | None = None, bias: bool = True, last: str = "Neg") -> onnx.ModelProto:
    """A convolution, the operators of `order`, and one that reads their result, or none."""
    held = {"w": normal(4, 3, 3, 3, 3), **({"b": normal(4) * 5} if bias else {})}
    nodes = [node("Conv", "x w b" if bias else "x w", "c", pads=[1] * 6)]
    for operator in order:
        nodes.append(
            node(operator, nodes[-1].output[0], operator.lower(), **(pool or POOL if operator == "MaxPool" else {}))
        )
    if last:
        nodes.append(node(last, nodes[-1].output[0], "y"))
    else:
        nodes[-1].output[0] = "y"
    return graph(nodes, {"x": ("n", 3, 5, 10, 12)}, {"y": ("n", *"abcd")}, held)


@pytest.mark.parametrize(
    "model",
    [
        layer("Relu", "MaxPool"),
        layer("MaxPool", "Relu"),
        layer("MaxPool"),
        layer("Relu", "MaxPool", pool={"kernel_shape": [1, 3, 3], "strides": [1, 2, 2], "pads": [0, 1, 1] * 2}),
        layer("Relu", "MaxPool", last=""),
        layer("MaxPool", last=""),
        layer("MaxPool", "Relu", last=""),
    ],
    ids=["relu first", "relu last", "no relu", "padded", "an output", "an output without relu", "an output after relu"],
)
def test_bias_and_relu_come_after_the_pool(model: onnx.ModelProto, tmp_path: Path) -> None:
    done = check_pass(PoolBeforeBias(), model, FEEDS, tmp_path, 1e-6)
    assert done.modified
    operators = [made.op_type for made in done.model.graph.node if made.op_type not in ("Unsqueeze", "Neg")]
    relu = ["Relu"] if any(made.op_type == "Relu" for made in model.graph.node) else []
    assert operators == ["Conv", "MaxPool", "Add", *relu]
    assert np.array_equal(done.weight("b"), onnx.numpy_helper.to_array(model.graph.initializer[1]))  # as trained


@pytest.mark.parametrize(
    "model",
    [
        layer("Relu", "MaxPool", bias=False),
        layer("Relu"),
        layer("Sigmoid", "MaxPool"),
        layer("Relu", "AveragePool", pool=POOL),
        layer("Relu", "MaxPool", pool={"kernel_shape": [2] * 3, "dilations": [2] * 3, "pads": [1] * 6}),
    ],
    ids=["no bias", "no pool", "another activation", "a mean", "windows that may hold padding only"],
)
def test_others_are_left(model: onnx.ModelProto) -> None:
    for made in model.graph.node:
        if made.op_type == "AveragePool":
            made.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in POOL.items())
    assert not rewrite(PoolBeforeBias(), model).modified


def test_a_value_that_others_read_stays(tmp_path: Path) -> None:
    model = layer("Relu", "MaxPool")
    model.graph.node.append(node("Neg", "relu", "z"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n", *"efgh"]))
    assert not check_pass(PoolBeforeBias(), model, FEEDS, tmp_path, 1e-6).modified


def test_in_float16_the_results_are_equal_in_every_bit(tmp_path: Path) -> None:
    half = rewrite(Float16(), layer("Relu", "MaxPool")).model
    moved = rewrite(PoolBeforeBias(), half).model
    results: list[Any] = []
    for number, model in enumerate((half, moved)):
        path = tmp_path / f"{number}.onnx"
        onnx.save(model, path)
        with Float16Emulation(path, RuntimeOptions()) as runtime:
            results.append(runtime.run(FEEDS)["y"])
    assert np.array_equal(results[0], results[1])
    assert np.abs(results[0]).max() > 1
