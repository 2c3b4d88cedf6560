"""Sizes of pools with `ceil_mode`: onnx's checker and shape inference agree with what onnxruntime returns."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, run_onnxruntime

from exporter.engines.reference.kernels import KERNELS
from exporter.engines.reference.node import make_node
from exporter.onnx_io.ceil_pools import has_ceil_pools, with_explicit_ceil_pools
from exporter.onnx_io.inference import infer_shapes as infer_message
from exporter.onnx_io.onnx_passes import find_fault
from exporter.passes.base import run_passes
from exporter.passes.graph import get_shape, infer_shapes
from exporter.passes.pipelines import portable_passes

DROPPED = {"kernel_shape": [1], "strides": [3], "ceil_mode": 1}
"""Of 5 positions, onnx counts a third window that begins at the seventh."""
OPSETS = {"MaxPool": (10, 11, 12, 21, 22), "AveragePool": (10, 11, 19, 21, 22), "LpPool": (18, 21, 22)}


def pool(operator: str, opset: int, sizes: list[int], attributes: dict[str, Any]) -> onnx.ModelProto:
    free = tuple(f"size{axis}" for axis in range(len(sizes)))
    nodes = [node(operator, "x", "a", **attributes), node("Neg", "a", "y")]
    return graph(nodes, {"x": (1, 1, *sizes)}, {"y": (1, 1, *free)}, {}, opset)


def generate(rng: np.random.Generator) -> tuple[str, int, list[int], dict[str, Any]]:
    """Return an operator, an opset, input sizes and attributes that onnxruntime takes, most with `ceil_mode`."""
    operator = str(rng.choice([*OPSETS]))
    opset, rank = int(rng.choice(OPSETS[operator])), int(rng.integers(1, 3))
    auto_pad = str(rng.choice(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    kernel = rng.integers(1, 4, rank)
    attributes: dict[str, Any] = {
        "kernel_shape": kernel.tolist(),
        "strides": rng.integers(1, 5, rank).tolist(),
        "ceil_mode": int(rng.random() < 0.8),
        "auto_pad": auto_pad,
    }
    if auto_pad == "NOTSET":
        attributes["pads"] = rng.integers(0, np.tile(kernel, 2)).tolist()
    return operator, opset, rng.integers(3, 9, rank).tolist(), attributes


@pytest.mark.parametrize("seed", range(4))
def test_sizes_are_those_of_onnxruntime(seed: int) -> None:
    rng = np.random.default_rng(seed)
    compared = 0
    for _ in range(60):
        operator, opset, sizes, attributes = generate(rng)
        model = pool(operator, opset, sizes, attributes)
        x = rng.standard_normal((1, 1, *sizes)).astype(np.float32)
        try:
            y = run_onnxruntime(model, {"x": x})["y"]
        except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
            assert "padding values must be" in str(error)
            continue  # SAME, and steps longer than the window: it refuses some
        held = ir.from_proto(model)
        assert find_fault(held) is None
        infer_shapes(held)
        case = operator, opset, sizes, attributes
        assert get_shape(held.graph.node(0).outputs[0]) == y.shape, case
        assert ir.to_proto(held).graph.node == model.graph.node
        inferred = infer_message(model)
        (size,) = (value.type.tensor_type.shape.dim for value in inferred.graph.value_info if value.name == "a")
        assert tuple(axis.dim_value for axis in size) == y.shape, case
        assert inferred.graph.node == model.graph.node
        made = make_node(model.graph.node[0], {"": opset})
        np.testing.assert_allclose(KERNELS[made.key](made, x.astype(float)), -y, 1e-5, 1e-6, err_msg=str(case))
        compared += 1
    assert compared > 40


def test_a_size_that_depends_on_another_pool() -> None:
    nodes = [node("MaxPool", "x", "a", **DROPPED), node("MaxPool", "a", "b", **DROPPED), node("Neg", "b", "y")]
    held = ir.from_proto(graph(nodes, {"x": ("n", 1, 11)}, {"y": ("n", 1, 2)}, {}, 11))
    assert find_fault(held) is None  # 11 -> 4 -> 2; onnx alone infers 5 and then 3
    infer_shapes(held)
    assert [get_shape(made.outputs[0]) for made in held.graph] == [("n", 1, 4), ("n", 1, 2), ("n", 1, 2)]


def test_the_stated_size_is_still_checked() -> None:
    model = graph([node("MaxPool", "x", "y", **DROPPED)], {"x": (1, 1, 5)}, {"y": (1, 1, 3)}, {}, 11)
    assert find_fault(ir.from_proto(model)) is not None
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 2
    assert find_fault(ir.from_proto(model)) is None


def test_free_sizes_stay_free() -> None:
    held = ir.from_proto(graph([node("MaxPool", "x", "y", **DROPPED)], {"x": (1, 1, "t")}, {"y": None}, {}, 11))
    infer_shapes(held, outputs=True)
    assert not isinstance((get_shape(held.graph.outputs[0]) or [0])[2], int)


def test_a_size_that_is_folded_is_right() -> None:
    """A shape that the graph computes from the pool's: folding it must not use onnx's."""
    nodes = [
        node("MaxPool", "x", "a", **DROPPED),
        node("Shape", "a", "s"),
        node("Expand", "w s", "y"),
    ]
    model = graph(nodes, {"x": (1, 1, 5)}, {"y": (1, 1, 2)}, {"w": np.ones((1, 1, 1), np.float32)}, 13)
    done = run_passes(ir.from_proto(model), portable_passes())
    assert done.full_check
    assert "fold-constants" in done.changed
    feeds = {"x": np.ones((1, 1, 5), np.float32)}
    assert run_onnxruntime(ir.to_proto(done.model), feeds)["y"].shape == (1, 1, 2)


@pytest.mark.parametrize(
    "attributes",
    [
        {"dilations": [1]},
        {"strides": [2]},
        {"strides": [0, 0]},
        {"strides": [-1, -1]},
        {"strides": "ab"},
        {"pads": [0, 0, 1]},
        {"pads": [-9, -9, 0, 0]},
        {"kernel_shape": 3},
        {"kernel_shape": [1.5, 2.0]},
        {"kernel_shape": [2, 2, 2], "strides": [2, 2]},
    ],
)
def test_pools_that_are_none_are_left_to_onnx_and_the_engine(attributes: dict[str, Any]) -> None:
    given = {"kernel_shape": [1, 1], "strides": [3, 3], "ceil_mode": 1, **attributes}
    model = pool("MaxPool", 17, [5, 5], given)
    assert with_explicit_ceil_pools(model) == model
    assert not has_ceil_pools(ir.from_proto(model))


def test_a_pool_s_size_follows_from_that_of_the_pool_before_it() -> None:
    """Of 5 positions the first pool leaves 2 and onnx counts 3, of which the second's window of 3 needs no padding."""
    second = {"kernel_shape": [3], "strides": [4], "ceil_mode": 1}
    nodes = [node("MaxPool", "x", "a", **DROPPED), node("MaxPool", "a", "y", **second)]
    model = graph(nodes, {"x": (1, 1, 5)}, {"y": (1, 1, "size")}, {}, 17)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, (1, 1, 3)))
    found = with_explicit_ceil_pools(model).graph.node
    pads = [list(given.ints) for pool in found for given in pool.attribute if given.name == "pads"]
    assert pads == [[0, 0], [0, 1]]
