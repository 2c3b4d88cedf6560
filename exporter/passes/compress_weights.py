"""Weights in fewer bits in the file, float32 again when it is loaded or run.

*Given* float32 initialisers. *Result*, `fp16`: the initialiser in float16 and a Cast to float32, which onnxruntime
folds when it opens the file, so that running costs the same. *Result*, `int8`: the initialiser in int8. Of a
convolution it has one scale for each output channel, with a Cast and a Mul that are folded likewise (a
DequantizeLinear would run every time, and onnxruntime 1.32 has none for opset 28). Of a linear layer it has one scale
for each block of up to 128 inputs of an output, with a DequantizeLinear and a MatMul, the form that onnxruntime runs on
the int8 weights themselves. *Algebra*: `W ~ q s`, `s = max|W| / 127` over the channel or block, `q = round(W / s)`;
zero stays zero. *Source*: ONNX DequantizeLinear-21; Jacob et al., *Quantization and Training of Neural Networks*
(2018), symmetric weights; docs/reference/passes.md has the measurements that chose these forms.

Parity evaluates the result as an approximation, by its signal-to-noise ratio.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import (
    ONNX,
    GraphPass,
    add_initializer,
    constant,
    fresh_name,
    opset_of,
    remove_unused_initializers,
    single_consumer,
)
from exporter.passes.builder import FIXED
from exporter.types import WeightDtype

MIN_ELEMENTS = 4096
"""Smaller tensors (biases, scales) stay float32: they cost nothing and matter more."""
BLOCKS = (128, 64, 32)
"""Inputs that share a scale: the largest that divides a layer's inputs. All are sizes that onnxruntime's kernel has."""
BLOCKED_OPSET = 21
"""The first whose DequantizeLinear has blocks."""
FLOAT16_MAX = 65504.0
CONVOLUTION = 4
"""The least axes of a convolution's weights: outputs, inputs, rows, columns."""

Floats = NDArray[Any]


class CompressWeights(GraphPass):
    """Large float32 weights are stored in float16 or int8."""

    name = "compress-weights"
    condition = "A float32 weight of 4096 numbers or more in two axes or more; for int8, of a Conv, Gemm or MatMul."
    reason = "The file is half or a quarter as large; int8 linear layers, bound by memory at batch 1, run faster."

    def __init__(self, kind: WeightDtype) -> None:
        super().__init__()
        self.kind: WeightDtype = kind

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for value in list(model.graph.initializers.values()):
            tensor = constant(value)
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < MIN_ELEMENTS:
                continue
            if len(tensor.shape.numpy()) < 2 or str(value.name).startswith(FIXED):
                continue
            if value.is_graph_output() or not value.uses():
                continue
            stored = self._half(model, value) if self.kind == "fp16" else self._int8(model, value)
            modified = modified or stored
        return modified

    def _half(self, model: ir.Model, value: ir.Value) -> bool:
        reader = next(iter(value.uses())).node
        weights = _numbers(value)
        if not np.abs(weights).max(initial=0.0) <= FLOAT16_MAX:
            self.decide(reader, "left in fp32", "a weight is beyond float16's largest number, 65504")
            return False
        uses = list(value.uses())
        name = str(value.name)
        cast = _node(model, "Cast", [], f"{name}.float32", {"to": ir.DataType.FLOAT.value}, value)
        for use in uses:
            use.node.replace_input_with(use.idx, cast.outputs[0])
        remove_unused_initializers(model, [value])
        stored = add_initializer(model, name, ir.tensor(weights.astype(np.float16)))
        cast.resize_inputs(1)
        cast.replace_input_with(0, stored)
        self.decide(reader, "stored as fp16", "cast back to float32 when the file is loaded")
        return True

    def _int8(self, model: ir.Model, value: ir.Value) -> bool:
        uses = list(value.uses())
        reader, place = uses[0].node, uses[0].idx
        transformed = (
            reader.op_type == "Reshape" and _numbers(value).ndim >= CONVOLUTION
        )  # Winograd's way to its weights
        if len(uses) > 1 or place != 1 - transformed or reader.domain not in ONNX or reader.graph is not model.graph:
            self.decide(reader, "left in fp32", "the weight is read by several nodes, or not as a layer's weight")
            return False
        if reader.op_type == "Conv" or transformed:
            self._convolution(model, reader, value, place)
            self.decide(reader, "stored as int8", "a scale for each output channel; float32 when the file is loaded")
            return True
        refusal = _linear_refusal(model, reader, value)
        if refusal is not None:
            self.decide(reader, "left in fp32", refusal)
            return False
        block = self._linear(model, reader, value)
        self.decide(reader, "stored as int8", f"a scale for each {block} inputs of an output; run as int8")
        return True

    def _convolution(self, model: ir.Model, reader: ir.Node, value: ir.Value, place: int) -> None:
        weights = _numbers(value)
        flat = weights.reshape(len(weights), -1)
        scale = _scale(flat, axis=1)
        quantised = _rounded(flat, scale[:, None]).reshape(weights.shape)
        scale = scale.reshape(-1, *[1] * (weights.ndim - 1))
        stored, scales = _stored(model, reader, value, quantised, scale, place)
        name, kind = str(stored.name), {"to": ir.DataType.FLOAT.value}
        product = _node(model, "Mul", [], f"{name}.float32", {}, value)
        cast = _node(model, "Cast", [stored], f"{name}.cast", kind, value)
        product.resize_inputs(2)
        product.replace_input_with(0, cast.outputs[0])
        product.replace_input_with(1, scales)
        reader.replace_input_with(place, product.outputs[0])

    def _linear(self, model: ir.Model, reader: ir.Node, value: ir.Value) -> int:
        """Make the layer `x @ W (+ b)` with a blocked W (in, out); return the block."""
        weights = _numbers(value)
        across = bool(reader.attributes.get_int("transB", 0))  # then (out, in), and only the int8 is transposed
        inputs = weights.shape[1 if across else 0]
        block = next(size for size in BLOCKS if inputs % size == 0)
        blocks = weights.reshape(len(weights), -1, block) if across else weights.reshape(-1, block, weights.shape[1])
        axis = 2 if across else 1
        scale = _scale(blocks, axis)
        quantised = _rounded(blocks, np.expand_dims(scale, axis)).reshape(weights.shape)
        if across:
            quantised, scale = np.ascontiguousarray(quantised.T), np.ascontiguousarray(scale.T)
        stored, scales = _stored(model, reader, value, quantised, scale)
        attributes = {"axis": 0, "block_size": block}
        shaped = ir.Value(shape=ir.Shape(quantised.shape))
        restored = _node(model, "DequantizeLinear", [stored, scales], f"{stored.name}.float32", attributes, shaped)
        if reader.op_type == "MatMul":
            reader.replace_input_with(1, restored.outputs[0])
            after = single_consumer(reader.outputs[0])
            if after is not None and after.op_type == "Add" and after.domain in ONNX:
                after.op_type = "Sum"  # as `_as_matmul` does
        else:
            _as_matmul(model, reader, restored.outputs[0])
        return block


def _stored(
    model: ir.Model, reader: ir.Node, value: ir.Value, quantised: Floats, scale: Floats, place: int = 1
) -> tuple[ir.Value, ir.Value]:
    """Take the weight from its only reader, and return its int8 form, under its name, and the scales."""
    name = str(value.name)
    reader.replace_input_with(place, None)
    remove_unused_initializers(model, [value])
    return (
        add_initializer(model, name, ir.tensor(quantised)),
        add_initializer(model, f"{name}.scale", ir.tensor(scale)),
    )


def _linear_refusal(model: ir.Model, reader: ir.Node, value: ir.Value) -> str | None:
    """Return why a layer cannot have a blocked int8 weight, or None."""
    shape = tuple(int(size) for size in _numbers(value).shape)
    if reader.op_type not in ("Gemm", "MatMul") or len(shape) != 2:
        return f"{reader.op_type} with a weight of {len(shape)} axes has no int8 form here"
    if opset_of(model) < BLOCKED_OPSET:
        return f"blocks of int8 need opset {BLOCKED_OPSET}; the model has {opset_of(model)}"
    attributes = reader.attributes
    plain = attributes.get_float("alpha", 1.0) == 1.0 and attributes.get_float("beta", 1.0) == 1.0
    if not plain or attributes.get_int("transA", 0):
        return "the Gemm scales or transposes its input"
    inputs = shape[1] if attributes.get_int("transB", 0) else shape[0]
    return None if inputs % BLOCKS[-1] == 0 else f"its {inputs} inputs are no multiple of {BLOCKS[-1]}"


def _as_matmul(model: ir.Model, gemm: ir.Node, weight: ir.Value) -> None:
    """Turn `Gemm(x, W, b)` into `Sum(MatMul(x, W), b)`; the last of them keeps the name and the output.

    Sum, because onnxruntime 1.32 makes MatMul, Add and Relu one operator before it looks at the weights, and then
    dequantises them at every run, which takes 30 times as long.
    """
    x, output = gemm.inputs[0], gemm.outputs[0]
    bias = gemm.inputs[2] if len(gemm.inputs) > 2 else None
    name, result, shape, kind = gemm.name, output.name, output.shape, output.type
    matmul = ir.Node("", "MatMul", [x, weight], num_outputs=1, name=gemm.name)
    nodes = [matmul]
    if bias is not None:
        matmul.name = fresh_name(model, f"{name}.matmul")
        matmul.outputs[0].name = fresh_name(model, f"{name}.matmul.out")
        matmul.outputs[0].shape, matmul.outputs[0].type = shape, kind
        nodes.append(ir.Node("", "Sum", [matmul.outputs[0], bias], num_outputs=1, name=name))
    model.graph.insert_before(gemm, nodes)
    last = nodes[-1].outputs[0]
    ir.convenience.replace_all_uses_with(output, last, replace_graph_outputs=True)
    model.graph.remove(gemm, safe=True)
    last.name, last.shape, last.type = result, shape, kind


def _node(
    model: ir.Model, operator: str, inputs: list[ir.Value], name: str, attributes: dict[str, Any], like: ir.Value
) -> ir.Node:
    """Insert a node at the graph's beginning, with one output of `name`, shaped like `like`."""
    name = fresh_name(model, name)
    attached = [ir.AttrInt64(key, number) for key, number in attributes.items()]
    node = ir.Node("", operator, inputs, attached, num_outputs=1, name=name)
    node.outputs[0].name = name
    node.outputs[0].shape, node.outputs[0].type = like.shape, ir.TensorType(ir.DataType.FLOAT)
    model.graph.insert_before(model.graph[0], node)
    return node


def _numbers(value: ir.Value) -> Floats:
    tensor = constant(value)
    assert tensor is not None
    return np.asarray(tensor.numpy())


def _scale(weights: Floats, axis: int) -> Floats:
    """Return max|W| / 127 along `axis`, 1 where all is zero, float32."""
    largest = np.maximum(weights.max(axis), -weights.min(axis)).astype(np.float32)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)


def _rounded(weights: Floats, scale: Floats) -> NDArray[np.int8]:
    scaled = weights / scale
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -127, 127, out=scaled).astype(np.int8)
