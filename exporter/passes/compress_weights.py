"""Stores weights in fewer bits in the file; they are float32 again when the file is loaded or run.

*Given* float32 initialisers. *Result*, `fp16`: the initialiser in float16 and a Cast to float32, which onnxruntime
folds when it opens the file, so that running costs the same. *Result*, `int8`: the initialiser in int8. Of a
convolution it has one scale for each output channel, with a Cast and a Mul that are folded likewise (a
DequantizeLinear would run every time, and onnxruntime 1.32 has none for opset 28). Of a linear layer it has one scale
for each block of up to 128 inputs of an output, with a DequantizeLinear and a MatMul, which onnxruntime runs on the
int8 weights themselves. *Algebra*: `W ~ q s`, `s = max|W| / 127` over the channel or block, `q = round(W / s)`;
zero stays zero. *Source*: ONNX DequantizeLinear-21; Jacob et al., *Quantization and Training of Neural Networks*
(2018), symmetric weights; docs/reference/passes.md has the measurements behind these choices.

Parity checks the result as an approximation, by its signal-to-noise ratio.
"""

import numpy as np
import onnx_ir as ir

from exporter.onnx_io.dtypes import FLOAT16_MAX
from exporter.onnx_io.subgraphs import STANDARD_DOMAINS
from exporter.passes.base import GraphPass
from exporter.passes.builder import MATRIX_PREFIXES, insert_node
from exporter.passes.graph import (
    add_initializer,
    constant,
    get_opset,
    read_array,
    remove_unused_initializers,
    replace_constant,
    replace_value,
    single_consumer,
)
from exporter.passes.quantize.arithmetic import quantize_weight
from exporter.passes.quantize.layers import is_plain
from exporter.types import BLOCKED_OPSET, WeightDtype

MIN_ELEMENTS = 4096
"""Smaller tensors (biases, scales) stay float32: they are a small part of the file and matter more."""
BLOCKS = (128, 64, 32)
"""Inputs that share a scale: the largest of these that divides a layer's inputs. onnxruntime's kernel has all of
them."""
MIN_CONV_RANK = 4
"""Axes of a 2-D convolution's weight: outputs, inputs, rows, columns."""


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
            if len(tensor.shape.numpy()) < 2 or str(value.name).startswith(MATRIX_PREFIXES):
                continue
            if value.is_graph_output() or not value.uses():
                continue
            stored = self._store_float16(model, value) if self.kind == "fp16" else self._store_int8(model, value)
            modified = modified or stored
        return modified

    def _store_float16(self, model: ir.Model, value: ir.Value) -> bool:
        consumer = next(iter(value.uses())).node
        weights = read_array(value)
        if not np.abs(weights).max(initial=0.0) <= FLOAT16_MAX:
            self.decide(consumer, "left in fp32", f"a weight is beyond float16's largest number, {FLOAT16_MAX:g}")
            return False
        uses, name, first = list(value.uses()), str(value.name), model.graph[0]
        for use in uses:
            use.node.replace_input_with(use.idx, None)
        remove_unused_initializers(model, [value])
        stored = add_initializer(model, name, ir.tensor(weights.astype(np.float16)))
        cast = _to_float32(model, first, "Cast", [stored], f"{name}.float32", value.shape, to=ir.DataType.FLOAT)
        for use in uses:
            use.node.replace_input_with(use.idx, cast)
        self.decide(consumer, "stored as fp16", "cast back to float32 when the file is loaded")
        return True

    def _store_int8(self, model: ir.Model, value: ir.Value) -> bool:
        uses = list(value.uses())
        consumer, index = uses[0].node, uses[0].idx
        # Winograd transforms the weights of a convolution, beginning with a Reshape
        transformed = consumer.op_type == "Reshape" and read_array(value).ndim >= MIN_CONV_RANK
        standard = consumer.domain in STANDARD_DOMAINS and consumer.graph is model.graph
        if len(uses) > 1 or index != 1 - transformed or not standard:
            self.decide(consumer, "left in fp32", "the weight is read by several nodes, or by one that is no layer")
            return False
        if consumer.op_type == "Conv" or transformed:
            self._quantise_conv(model, consumer, value, index)
            self.decide(consumer, "stored as int8", "a scale for each output channel; float32 when the file is loaded")
            return True
        reason = _check_linear(model, consumer, value)
        if reason is not None:
            self.decide(consumer, "left in fp32", reason)
            return False
        block = self._quantise_linear(model, consumer, value)
        self.decide(consumer, "stored as int8", f"a scale for each {block} inputs of an output; run as int8")
        return True

    def _quantise_conv(self, model: ir.Model, consumer: ir.Node, value: ir.Value, index: int) -> None:
        weights, first, shape = read_array(value), model.graph[0], value.shape
        quantised, scale = quantize_weight(weights, tuple(range(1, weights.ndim)))
        stored, scales = replace_constant(model, consumer, index, values=quantised, scale=scale)
        cast = _to_float32(model, first, "Cast", [stored], f"{stored.name}.cast", shape, to=ir.DataType.FLOAT)
        product = _to_float32(model, first, "Mul", [cast, scales], f"{stored.name}.float32", shape)
        consumer.replace_input_with(index, product)

    def _quantise_linear(self, model: ir.Model, consumer: ir.Node, value: ir.Value) -> int:
        """Rewrite the layer as `x @ W (+ b)` with W (in, out) in blocks; return the block size."""
        weights = read_array(value)
        transposed = bool(consumer.attributes.get_int("transB", 0))  # then (out, in), and only the int8 is transposed
        inputs = weights.shape[1 if transposed else 0]
        block = next(size for size in BLOCKS if inputs % size == 0)
        blocks = (
            weights.reshape(len(weights), -1, block) if transposed else weights.reshape(-1, block, weights.shape[1])
        )
        axis = 2 if transposed else 1
        quantised, scale = quantize_weight(blocks, axis)
        quantised, scale = quantised.reshape(weights.shape), scale.squeeze(axis)
        if transposed:
            quantised, scale = np.ascontiguousarray(quantised.T), np.ascontiguousarray(scale.T)
        stored, scales = replace_constant(model, consumer, 1, values=quantised, scale=scale)
        name, shape = f"{stored.name}.float32", ir.Shape(quantised.shape)
        restored = _to_float32(
            model, model.graph[0], "DequantizeLinear", [stored, scales], name, shape, axis=0, block_size=block
        )
        if consumer.op_type == "MatMul":
            consumer.replace_input_with(1, restored)
            after = single_consumer(consumer.outputs[0])
            if after is not None and after.op_type == "Add" and after.domain in STANDARD_DOMAINS:
                after.op_type = "Sum"  # as `_to_matmul` does
        else:
            _to_matmul(model, consumer, restored)
        return block


def _check_linear(model: ir.Model, consumer: ir.Node, value: ir.Value) -> str | None:
    """Return why a layer cannot have an int8 weight in blocks, or None."""
    shape = tuple(int(size) for size in read_array(value).shape)
    if consumer.op_type not in ("Gemm", "MatMul") or len(shape) != 2:
        return f"{consumer.op_type} with a weight of {len(shape)} axes is not stored as int8"
    if get_opset(model) < BLOCKED_OPSET:
        return f"blocks of int8 need opset {BLOCKED_OPSET}; the model has {get_opset(model)}"
    if not is_plain(consumer):
        return "the Gemm scales or transposes its input"
    inputs = shape[1] if consumer.attributes.get_int("transB", 0) else shape[0]
    return None if inputs % BLOCKS[-1] == 0 else f"its {inputs} inputs are no multiple of {BLOCKS[-1]}"


def _to_matmul(model: ir.Model, gemm: ir.Node, weight: ir.Value) -> None:
    """Turn `Gemm(x, W, b)` into `Sum(MatMul(x, W), b)`; the last node keeps the name and the output.

    Sum, because onnxruntime 1.32 makes MatMul, Add and Relu one operator before it looks at the weights, and then
    dequantises them at every run, which takes 30 times as long.
    """
    x, output = gemm.inputs[0], gemm.outputs[0]
    bias = gemm.inputs[2] if len(gemm.inputs) > 2 else None
    assert x is not None
    result = insert_node(model, gemm, "MatMul", [x, weight], f"{gemm.name}.matmul", output.shape, output.dtype)
    if bias is not None:
        result = insert_node(model, gemm, "Sum", [result, bias], f"{gemm.name}.sum")
    last = result.producer()
    assert last is not None
    last.name = gemm.name
    replace_value(output, result)
    model.graph.remove(gemm, safe=True)


def _to_float32(
    model: ir.Model,
    first: ir.Node,
    operator: str,
    inputs: list[ir.Value],
    name: str,
    shape: ir.Shape | None,
    **attributes: int,
) -> ir.Value:
    """Insert a node at the beginning of the graph, before `first`, with a float32 output of its own name."""
    dtype = ir.DataType.FLOAT
    return insert_node(model, first, operator, inputs, name, shape, dtype, output=name, **attributes)
