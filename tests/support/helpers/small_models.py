"""Small ONNX models, written by hand: what other tools' artifacts look like, in kilobytes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from helpers import graphs

Array = NDArray[Any]
Weights = dict[str, Array]
Shape = list[int | str]
Port = tuple[int, Shape]

LAYERS = ("conv1", "relu1", "pool1", "conv2", "relu2", "flat", "scores")
"""The values of `network`, in the order computed."""
SIZE = 8
CLASSES = 7


def weights() -> Weights:
    """He's scale, so that no layer's signal vanishes."""
    generator = np.random.default_rng(5)
    shapes = {"w1": (6, 3, 3, 3), "w2": (8, 6, 3, 3), "w3": (CLASSES, 8 * SIZE * SIZE // 4)}
    made = {name: generator.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5 for name, shape in shapes.items()}
    made |= {f"b{name[1]}": generator.standard_normal(shape[0]) * 0.1 for name, shape in shapes.items()}
    return {name: value.astype(np.float32) for name, value in made.items()}


def network(
    path: Path,
    *,
    change: Callable[[Weights], object] = lambda _: None,
    names: Mapping[str, str] | None = None,
    batch: int | str = "n",
    sizes: Sequence[int | str] = (SIZE, SIZE),
    opset: int = 20,
    rewrite: Callable[[list[onnx.NodeProto]], list[onnx.NodeProto]] = lambda nodes: nodes,
) -> Path:
    """Two convolutions and a linear layer: `x` (n, 3, 8, 8) to `scores` (n, 7).

    Args:
        path: where to.
        change: of the weights, in place.
        names: {value: another name}.
        batch: its size, or a name for a free one.
        sizes: height and width as the signature states them.
        opset: of the file.
        rewrite: of the nodes.
    """
    values = weights()
    change(values)
    called = dict(names or {})
    pads: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["conv1"], **pads),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("MaxPool", ["relu1"], ["pool1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pool1", "w2", "b2"], ["conv2"], **pads),
        helper.make_node("Relu", ["conv2"], ["relu2"]),
        helper.make_node("Flatten", ["relu2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["scores"], transB=1),
    ]
    nodes = rewrite(nodes)
    for node in nodes:
        for held in (node.input, node.output):
            held[:] = [called.get(name, name) for name in held]
    inputs = [helper.make_tensor_value_info(called.get("x", "x"), TensorProto.FLOAT, [batch, 3, *sizes])]
    outputs = [helper.make_tensor_value_info(called.get("scores", "scores"), TensorProto.FLOAT, [batch, CLASSES])]
    return save(path, nodes, inputs, outputs, values, opset)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, Array],
    opset: int = 20,
) -> Path:
    """Write a model of any inputs and outputs."""
    return graphs.save(path, graphs.make_model(nodes, inputs, outputs, constants, opset))


def typed(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Port],
    outputs: Mapping[str, Port],
    **constants: Array,
) -> Path:
    """Write a model whose inputs and outputs are given as {name: (member of TensorProto, shape)}."""
    sides = [[helper.make_tensor_value_info(name, *port) for name, port in side.items()] for side in (inputs, outputs)]
    return save(path, nodes, sides[0], sides[1], constants, opset=21)


def one_node(path: Path, node: onnx.NodeProto, shape: Shape, output: Shape, **constants: Array) -> Path:
    """Write a model of one node, from x of `shape` to y of the shape `output`, in float32."""
    return typed(path, [node], {"x": (TensorProto.FLOAT, shape)}, {"y": (TensorProto.FLOAT, output)}, **constants)


def convolution(path: Path, batch: int | str = "batch", channels: int = 4, size: int | str = 8) -> Path:
    """Write x (batch, 3, 4, size, 8) -> convolution, mean, linear layer -> y (batch, 5), the same weights every time."""
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1] * 6),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "v"], ["y"], name="fc"),
    ]
    shapes = {"w": (channels, 3, 3, 3, 3), "v": (channels, 5)}
    drawn = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return graphs.save(path, graphs.graph(nodes, {"x": [batch, 3, 4, size, 8]}, {"y": [batch, 5]}, drawn))


def two_inputs(path: Path, factor: float = 1.0) -> Path:
    """Two inputs, one of them of integers, and two outputs, one of them of integers."""
    generator = np.random.default_rng(1)
    table, matrix = (generator.standard_normal(shape).astype(np.float32) for shape in ((50, 6), (6, 5)))
    nodes = [
        helper.make_node("Gather", ["table", "words"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axes"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "bias"], ["sum"]),
        helper.make_node("MatMul", ["sum", "matrix"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    ]
    value = helper.make_tensor_value_info
    return save(
        path,
        nodes,
        [value("words", TensorProto.INT64, ["n", "length"]), value("bias", TensorProto.FLOAT, ["n", 6])],
        [value("scores", TensorProto.FLOAT, ["n", 5]), value("best", TensorProto.INT64, ["n"])],
        {"table": table, "matrix": matrix * np.float32(factor), "axes": np.array([1])},
    )


def branches(path: Path) -> Path:
    """`y = x > 0 ? x * 2 : x + c` by an If, whose branches hold a constant and read an outer value."""
    out = [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)]
    then = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["r"])],
        "then",
        [],
        out,
        [numpy_helper.from_array(np.array(2, np.float32), "two")],
    )
    constant = helper.make_node("Constant", [], ["c"], value_float=0.1)
    other = helper.make_graph([constant, helper.make_node("Add", ["x", "c"], ["r"])], "else", [], out)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=other),
    ]
    return save(
        path,
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        {"zero": np.array(0, np.float32)},
    )


def scaled(name: str, factor: float) -> Callable[[Weights], object]:
    """A fault: a weight times a factor."""

    def change(values: Weights) -> None:
        values[name] = (values[name] * np.float32(factor)).astype(np.float32)

    return change


def narrowed(source: Path, target: Path, kind: int) -> Path:
    """Write a model with every float32 in float16 or bfloat16 (a member of TensorProto), its inputs and outputs cast.

    Outputs stay float32, as converters leave them.
    """
    dtype: Any = np.float16 if kind == TensorProto.FLOAT16 else ml_dtypes.bfloat16
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(helper.make_tensor(tensor.name, kind, array.shape, array.tobytes(), raw=True))
    first = [helper.make_node("Cast", [value.name], [f"{value.name}.low"], to=kind) for value in model.graph.input]
    last = [helper.make_node("Cast", [f"{v.name}.low"], [v.name], to=TensorProto.FLOAT) for v in model.graph.output]
    cast = {value.name for value in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        for held in (node.input, node.output):
            held[:] = [f"{name}.low" if name in cast else name for name in held]
    nodes = [*first, *model.graph.node, *last]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    onnx.save(model, target)
    return target


def fused(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Convolution and ReLU in one, as onnxruntime's optimiser writes them; the value has the convolution's name."""
    reported: list[onnx.NodeProto] = []
    for node in nodes:
        if node.op_type == "Conv":
            node.op_type, node.domain = "FusedConv", "com.microsoft"
            node.attribute.append(helper.make_attribute("activation", "Relu"))
        if node.op_type == "Relu":
            name = node.input[0]
            reported = [later for later in reported if later is not node]
            for later in nodes:
                later.input[:] = [name if value == node.output[0] else value for value in later.input]
            continue
        reported.append(node)
    return reported


def channels_last(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Everything up to `flat` with its values in (N, H, W, C): a transposition around each layer."""
    reported: list[onnx.NodeProto] = []
    for node in nodes:
        if node.op_type in ("Flatten", "Gemm"):
            reported.append(node)
            continue
        source, target = node.input[0], node.output[0]
        last = source != "x"
        if last:
            reported.append(helper.make_node("Transpose", [source], [f"{target}.in"], perm=[0, 3, 1, 2]))
            node.input[0] = f"{target}.in"
        node.output[0] = f"{target}.first"
        reported += [node, helper.make_node("Transpose", [f"{target}.first"], [target], perm=[0, 2, 3, 1])]
    place = next(number for number, node in enumerate(reported) if node.op_type == "Flatten")
    reported.insert(place, helper.make_node("Transpose", ["relu2"], ["relu2.first.again"], perm=[0, 3, 1, 2]))
    reported[place + 1].input[0] = "relu2.first.again"
    return reported
