"""Moves a convolution's bias and ReLU behind the max-pooling that follows: for engines that compute them one by one.

*Given* `y = MaxPool(Relu(Conv(x, W, b)))`, or the ReLU last, or none. *Result*: `y = Relu(MaxPool(Conv(x, W)) + b)`.
*Algebra*: adding a channel's bias and the ReLU are monotonic, also as they are rounded, and the largest of a window is
taken in each channel: `max f(v) = f(max v)`. So the results are the same in every bit where the engine adds the bias in
a step of its own, as onnxruntime's CUDA provider does: it computes a convolution, then adds the bias, then the ReLU,
each in a pass over the activation. Behind the pooling the activation is 4 to 8 times smaller.
"""

import onnx_ir as ir

from exporter.passes.base import PASSES_OPSET, NodePass
from exporter.passes.builder import Builder
from exporter.passes.graph import display_name, following_relu_and_pool, get_shape
from exporter.passes.names import UNBIASED

MOVED = "moved"


class PoolBeforeBias(NodePass):
    """Bias and ReLU of a convolution come after the MaxPool that follows it."""

    name = "pool-before-bias"
    condition = "A Conv with a bias whose only consumer is a MaxPool, or a ReLU followed by one, or the reverse."
    reason = "The bias and the ReLU are computed for the largest of each window only."
    min_opset = PASSES_OPSET
    operators = ("Conv",)

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """See `NodePass`."""
        relu, pool = following_relu_and_pool(node)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        shape = get_shape(node.outputs[0])
        if pool is None or bias is None or shape is None or _reads_padding_only(pool):
            return False
        _move(model, node, bias, relu, pool, len(shape))
        self.decide(node, MOVED, f"its bias{' and ReLU come' if relu is not None else ' comes'} after {pool.name}")
        return True


def _reads_padding_only(pool: ir.Node) -> bool:
    """Return whether a window may hold no number at all: one with gaps in padding, whose result a ReLU would change.

    Without gaps every window holds a number, because padding is shorter than the window.
    """
    padded = any(pool.attributes.get_ints("pads") or ()) or pool.attributes.get_string("auto_pad", "").startswith(
        "SAME"
    )
    return padded and max(pool.attributes.get_ints("dilations") or (1,)) > 1


def _move(model: ir.Model, conv: ir.Node, bias: ir.Value, relu: ir.Node | None, pool: ir.Node, rank: int) -> None:
    """Move a bias (channels,), and the ReLU if there is one, behind the pooling. The last value keeps its name."""
    graph, unbiased, pooled = model.graph, conv.outputs[0], pool.outputs[0]
    first = [relu] if relu is not None and relu.outputs[0] is pool.inputs[0] else []
    result = pooled if first or relu is None else relu.outputs[0]
    name, shape, kind = result.name, result.shape, result.type
    if first:
        pool.replace_input_with(0, unbiased)
        graph.remove(first)
    conv.replace_input_with(2, None)
    conv.resize_inputs(2)
    builder = Builder(model, display_name(conv))
    column = builder.op("Unsqueeze", "bias.column", bias, builder.integers("bias.axes", [0, *range(2, rank)]))
    biased = builder.op("Add", "bias.add", pooled, column)
    added = builder.nodes
    add = added[-1]
    if relu is None or first:
        final = biased if relu is None else relu.outputs[0]
        ir.convenience.replace_all_uses_with(pooled, final, replace_graph_outputs=True)
        add.replace_input_with(0, pooled)
    else:
        final = result
    if relu is not None:
        relu.replace_input_with(0, biased)
    graph.insert_after(pool, [*added, *first])
    # what these values hold is no longer what the network's layers return
    for value, layer in ((unbiased, conv), (pooled, pool)):
        value.name = builder.new_name(f"{layer.op_type.lower()}{UNBIASED}")
    final.name, final.shape, final.type = name, shape, kind
