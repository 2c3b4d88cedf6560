"""torch's convolution is the reference evaluator's own, and its max pool ONNX's definition, in every padding."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from exporter.engines.reference_ops import Conv, MaxPool


def output(operator: str, x: Any, weights: dict[str, Any], kernels: list[Any], **attributes: Any) -> Any:
    """What the reference evaluator says with these kernels in place of its own."""
    node = helper.make_node(operator, ["x", *weights], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, None)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    outputs: Any = ReferenceEvaluator(model, new_ops=kernels).run(None, {"x": x})
    return outputs[0]


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"pads": 1},
    "uneven": {"pads": [1, 0, 0, 0, 1, 1]},
    "strided": {"strides": 2, "pads": 1},
    "dilated": {"dilations": 2, "pads": 1},
    "same upper": {"auto_pad": "SAME_UPPER"},
}


def attributes(way: str, rank: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"kernel_shape": [2] * rank}
    for name, held in WAYS[way].items():
        if isinstance(held, list):
            chosen[name] = [*held[:rank], *held[3 : 3 + rank]]
        elif isinstance(held, int):
            chosen[name] = [held] * (rank * (1 + (name == "pads")))
        else:
            chosen[name] = held
    return chosen


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("way", [*WAYS])
def test_convolution(way: str, rank: int) -> None:
    generator = np.random.default_rng(0)
    for group in (1, 2):
        weights = {"w": generator.standard_normal((6, 4 // group, *[2] * rank)), "b": generator.standard_normal(6)}
        x = generator.standard_normal((2, 4, *(7, 6, 5)[:rank]))
        ours, own = (output("Conv", x, weights, k, group=group, **attributes(way, rank)) for k in ([Conv], []))
        assert ours.dtype == own.dtype == np.float64
        assert ours.shape == own.shape
        assert np.abs(ours - own).max() < 1e-12


def pooled(x: Any, span: int, stride: int, step: int, begins: list[int], counts: list[int]) -> Any:
    """Windows of `span` places, `step` apart, the first at -begin: the largest of what lies inside, place by place."""
    out = np.full((*x.shape[:2], *counts), -np.inf)
    for place in np.ndindex(*counts):
        for inside in np.ndindex(*[span] * len(counts)):
            at = [p * stride - b + i * step for p, b, i in zip(place, begins, inside, strict=True)]
            if all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True)):
                out[(..., *place)] = np.maximum(out[(..., *place)], x[(..., *at)])
    return out


POOLS: dict[str, tuple[dict[str, Any], int, int, Any, Any]] = {
    # attributes, stride, dilation, padding before, answers for axes of 7, 6 and 5
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


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("way", [*POOLS])
def test_max_pool(way: str, rank: int) -> None:
    held, stride, step, begin, counts = POOLS[way]
    chosen = {**held, "kernel_shape": [2] * rank, "strides": [stride] * rank, "dilations": [step] * rank}
    if "pads" in held:
        chosen["pads"] = [edge for edge in held["pads"] for _ in range(rank)]
    x = np.random.default_rng(rank).standard_normal((2, 4, *(7, 6, 5)[:rank]))
    begins = [begin] * rank if isinstance(begin, int) else [*begin[:rank]]
    assert np.array_equal(
        output("MaxPool", x, {}, [MaxPool], **chosen), pooled(x, 2, stride, step, begins, [*counts[:rank]])
    )
