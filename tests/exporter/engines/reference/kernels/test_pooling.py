"""Pools in float64: windows by hand, and onnxruntime's where it follows the definition."""

from typing import Any

import numpy as np
import pytest
from helpers.evaluated import assert_equal_to_onnxruntime, evaluator, in_float64, make_model
from onnx import helper

from exporter.engines.reference.operators import OWN_KERNEL


def pooled(x: Any, span: int, stride: int, step: int, begins: list[int], counts: list[int]) -> Any:
    """Windows of `span` positions, `step` apart, the first at -begin: the largest of what lies inside."""
    out = np.full((*x.shape[:2], *counts), -np.inf)
    for place in np.ndindex(*counts):
        for inside in np.ndindex(*[span] * len(counts)):
            at = [p * stride - b + i * step for p, b, i in zip(place, begins, inside, strict=True)]
            if all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True)):
                out[(..., *place)] = np.maximum(out[(..., *place)], x[(..., *at)])
    return out


POOLS: dict[str, tuple[dict[str, Any], int, int, Any, Any]] = {
    # attributes, stride, dilation, padding before, results for axes of 7, 6 and 5
    "plain": ({}, 1, 1, 0, (6, 5, 4)),
    "padded": ({"pads": (1, 1)}, 1, 1, 1, (8, 7, 6)),
    "uneven": ({"pads": (0, 1)}, 2, 1, 0, (4, 3, 3)),
    "strided": ({"pads": (1, 1)}, 2, 1, 1, (4, 4, 3)),
    "dilated": ({"pads": (1, 1)}, 1, 2, 1, (7, 6, 5)),
    "upper": ({"auto_pad": "SAME_UPPER"}, 1, 1, 0, (7, 6, 5)),
    "lower": ({"auto_pad": "SAME_LOWER"}, 1, 1, 1, (7, 6, 5)),
    "lower, strided": ({"auto_pad": "SAME_LOWER"}, 2, 1, (1, 0, 1), (4, 3, 3)),
    "valid": ({"auto_pad": "VALID"}, 2, 1, 0, (3, 3, 2)),
    "ceil": ({"ceil_mode": 1}, 2, 1, 0, (4, 3, 3)),
    "ceil, and the last window would begin outside": ({"ceil_mode": 1, "pads": (0, 1)}, 2, 1, 0, (4, 3, 3)),
}


def chosen(way: str, rank: int) -> dict[str, Any]:
    given, stride, step, _, _ = POOLS[way]
    attributes = {**given, "kernel_shape": [2] * rank, "strides": [stride] * rank, "dilations": [step] * rank}
    if "pads" in given:
        attributes["pads"] = [edge for edge in given["pads"] for _ in range(rank)]
    return attributes


def values(rank: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(rank).standard_normal((2, 4, *(7, 6, 5)[:rank])).astype(np.float32)}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("way", [*POOLS])
def test_max_pool(way: str, rank: int) -> None:
    _, stride, step, begin, counts = POOLS[way]
    feeds = values(rank)
    begins = [begin] * rank if isinstance(begin, int) else [*begin[:rank]]
    model = make_model(helper.make_node("MaxPool", ["x"], ["y"], **chosen(way, rank)), feeds)
    assert np.array_equal(in_float64(model, feeds)[0], pooled(feeds["x"], 2, stride, step, begins, [*counts[:rank]]))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("way", ["plain", "padded", "strided", "dilated", "lower", "ceil"])
def test_indices_of_max_pool(way: str, rank: int) -> None:
    orders = (0,) if rank == 1 else (0, 1)
    for order in orders:
        node = helper.make_node("MaxPool", ["x"], ["y", "indices"], storage_order=order, **chosen(way, rank))
        assert_equal_to_onnxruntime(node, values(rank))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("way", ["plain", "padded", "uneven", "strided", "dilated", "upper", "valid", "ceil"])
def test_average_pool(way: str, rank: int) -> None:
    for include in (0, 1):
        node = helper.make_node("AveragePool", ["x"], ["y"], count_include_pad=include, **chosen(way, rank))
        assert_equal_to_onnxruntime(node, values(rank))


@pytest.mark.parametrize("opset", [9, 11, 18, 19])
@pytest.mark.parametrize("pads", [[0, 0], [1, 1]])
def test_average_pool_whose_window_is_larger_than_the_input(opset: int, pads: list[int]) -> None:
    """onnxruntime rounds the negative size towards zero, and counts positions outside until opset 19."""
    feeds = {"x": np.array([[[3.0, 5.0]]], np.float32)}
    for include in (0, 1):
        given: dict[str, Any] = {"kernel_shape": [5], "strides": [4], "pads": pads, "count_include_pad": include}
        assert_equal_to_onnxruntime(helper.make_node("AveragePool", ["x"], ["y"], **given), feeds, opset)


def test_max_pool_of_integers() -> None:
    feeds = {"x": np.arange(16, dtype=np.int8).reshape(1, 1, 4, 4) - 8}
    model = make_model(helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0]), feeds)
    (y,) = in_float64(model, feeds)
    assert y.dtype == np.int8
    assert np.array_equal(y, feeds["x"])


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(operator: str) -> None:
    for rank in (1, 3):
        assert_equal_to_onnxruntime(helper.make_node(operator, ["x"], ["y"]), values(rank))


def test_an_axis_of_one_that_was_reversed() -> None:
    """Its stride is negative, and NumPy calls the array contiguous."""
    x = np.random.default_rng(0).standard_normal((2, 1, 7, 5, 8))
    model = make_model(helper.make_node("GlobalMaxPool", ["x"], ["y"]), {"x": x.astype(np.float32)})
    graph = evaluator(model)
    assert np.array_equal(graph.run({"x": x[:, ::-1]})["y"], x.max(axis=(2, 3, 4), keepdims=True))
    assert graph.operators[0].computed_by == OWN_KERNEL


def test_lp_pool() -> None:
    for p in (1, 3):
        node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1], p=p)
        assert_equal_to_onnxruntime(node, values(2))
