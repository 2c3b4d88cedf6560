"""What can be rewritten, what cannot, and the sentence that says why."""

from typing import Any

import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal

from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, infer_shapes
from exporter.passes.winograd.pattern import match_conv


def found(model: onnx.ModelProto) -> ConvMatch | str:
    loaded = ir.from_proto(model)
    infer_shapes(loaded)
    return match_conv(find_nodes(loaded, "Conv")[0])


def single(
    weight: tuple[int, ...] = (4, 2, 3, 3, 3), size: tuple[int | str, ...] = (4, 6, 6), **attributes: Any
) -> onnx.ModelProto:
    ports = {"x": ("n", weight[1] * attributes.get("group", 1), *size)}, {"y": ("n", weight[0], *"thw"[-len(size) :])}
    return graph([node("Conv", "x w", "y", **attributes)], *ports, {"w": normal(*weight)})


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (single((4, 2, 5, 5, 5)), "its kernel is 5x5x5, not 3x3x3, 1x3x3 or 3x3"),
        (single((4, 2, 3, 1, 1)), "its kernel is 3x1x1"),
        (single(strides=[2, 1, 1]), "its stride is 2x1x1"),
        (single(dilations=[1, 2, 2], pads=[1, 2, 2] * 2), "its dilation is 1x2x2"),
        (single((4, 2, 3, 3, 3), group=2), "it is a grouped convolution"),
        (single(size=(4, "rows", 6)), r"the size of its input is dynamic: \(n, 2, 4, rows, 6\)"),
        (single((4, 2, 1, 3, 3), pads=[1, 1, 1] * 2), "it pads frames around a kernel of one"),
    ],
)
def test_a_refusal_says_why(model: onnx.ModelProto, reason: str) -> None:
    refusal = found(model)
    assert isinstance(refusal, str)
    assert refusal.startswith(reason.replace("\\", ""))


def test_weights_that_are_inputs_are_not_known() -> None:
    ports = {"x": ("n", 2, 4, 6, 6), "w": (4, 2, 3, 3, 3)}, {"y": ("n", 4, "t", "h", "w")}
    assert found(graph([node("Conv", "x w", "y")], *ports, {})) == "its weights are not constant"


@pytest.mark.parametrize(("auto", "size"), [("VALID", (2, 4, 4)), ("SAME_UPPER", (4, 6, 6)), ("SAME_LOWER", (4, 6, 6))])
def test_padding_may_be_automatic(auto: str, size: tuple[int, ...]) -> None:
    match = found(single(auto_pad=auto))
    assert isinstance(match, ConvMatch)
    assert match.convolved == size


def chain(*operators: str, reader: str | None = None, **pool: Any) -> onnx.ModelProto:
    """A padded convolution of (4, 8, 8) and what follows; `reader` reads the convolution's output too."""
    window = {"kernel_shape": [2] * 3, "strides": [2] * 3} | pool
    nodes = [node("Conv", "x w", "v0", pads=[1] * 6)]
    for place, operator in enumerate(operators, start=1):
        nodes.append(node(operator, f"v{place - 1}", f"v{place}", **(window if operator == "MaxPool" else {})))
    outputs: dict[str, tuple[int | str, ...]] = {f"v{len(operators)}": ("n", 4, "t", "h", "w")}
    if reader:
        nodes.append(node(reader, "v0", "other"))
        outputs["other"] = ("n", 4, 4, 8, 8)
    return graph(nodes, {"x": ("n", 2, 4, 8, 8)}, outputs, {"w": normal(4, 2, 3, 3, 3)})


@pytest.mark.parametrize(
    ("model", "operators"),
    [
        (chain("Relu", "MaxPool"), ["Conv", "Relu", "MaxPool"]),
        (chain("Relu", "MaxPool", auto_pad="VALID"), ["Conv", "Relu", "MaxPool"]),
        (chain("Relu", "MaxPool", ceil_mode=1), ["Conv", "Relu", "MaxPool"]),
        (chain("MaxPool", "Relu"), ["Conv", "MaxPool", "Relu"]),
        (chain("Relu", "Sigmoid"), ["Conv", "Relu"]),
        (chain("Relu", "Relu"), ["Conv", "Relu"]),
        (chain("Sigmoid", "Relu"), ["Conv"]),
        (chain("Relu", reader="Sigmoid"), ["Conv"]),
        (chain("Relu", "MaxPool", strides=[1, 1, 1]), ["Conv", "Relu"]),
        (chain("Relu", "MaxPool", pads=[0, 1, 1, 0, 1, 1]), ["Conv", "Relu"]),
        (chain("MaxPool", "Relu", kernel_shape=[3, 3, 3]), ["Conv"]),
        (chain("Relu", "MaxPool", kernel_shape=[4, 2, 2], strides=[4, 2, 2]), ["Conv", "Relu"]),
    ],
)
def test_what_goes_with_a_convolution(model: onnx.ModelProto, operators: list[str]) -> None:
    match = found(model)
    assert isinstance(match, ConvMatch)
    assert [node.op_type for node in match.nodes] == operators


def test_weights_that_are_not_finite_are_left() -> None:
    model = single()
    weight = normal(4, 2, 3, 3, 3)
    weight[1, 1, 1, 1, 1] = float("inf")
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    reason = found(model)
    assert isinstance(reason, str)
    assert "not all finite" in reason
