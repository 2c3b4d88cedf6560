"""Computes the weights of layers that a graph computes from constants, whatever their size.

*Given* `y = Conv(x, f(v, ...), b)` with `f` a chain of operators on constants: weight normalisation `g v / |v|`, weight
standardisation `(v - mean(v)) / std(v)`, a Transpose of the kernel. *Result*: `y = Conv(x, W, b)` with `W = f(v, ...)`
as an initialiser, computed in float64 and rounded once. *Algebra*: an operator of constants is a constant. *Source*:
Salimans and Kingma, *Weight Normalization* (2016); Qiao et al., *Weight Standardization* (2019).

Engines fold such chains when they load a file, so nothing is gained by this alone; but the passes after this one see
weights that they can fold and transform. What only decompresses weights (a Cast or DequantizeLinear of smaller numbers)
or belongs to a rewritten convolution stays: folding it would make the file larger.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.isolation.worker import native_call
from exporter.onnx_io.subgraphs import LAYER_OPERATORS, STANDARD_DOMAINS
from exporter.passes.base import GraphPass
from exporter.passes.builder import MATRIX_PREFIXES
from exporter.passes.graph import add_initializer, constant, display_name, find_nodes, remove_unused_initializers

LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
ARITHMETIC = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Abs",
    "Sqrt",
    "Reciprocal",
    "Pow",
    "Exp",
    "Max",
    "Min",
    "Clip",
    "Sign",
)
REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare", "ReduceMax", "ReduceMin")
SPREADING = ("Expand", "Concat", "Slice", "InstanceNormalization", "LayerNormalization")
FOLDED = (*LAYOUT, *ARITHMETIC, *REDUCTIONS, *SPREADING)
DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT64, ir.DataType.INT32)
MAX_GROWTH = 4096
"""Bytes by which a weight may exceed the largest constant that it is computed from."""


class FoldWeights(GraphPass):
    """Weights and biases of layers that are computed from constants become initialisers."""

    name = "fold-weights"
    condition = (
        "A weight or bias of Conv, ConvTranspose, Gemm or MatMul that is arithmetic on float32 constants, or their "
        "Transpose."
    )
    reason = "Weight normalisation and standardisation hide the weights from the passes that fold and transform them."
    preparatory = True

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for layer in find_nodes(model, *LAYER_OPERATORS):
            for value in layer.inputs[1:3]:
                if value is None or constant(value) is not None or value.is_graph_output():
                    continue
                chain = _constant_chain(value)
                if not chain:
                    continue
                leaves = _leaves(chain)
                values = _evaluate(model, chain, leaves, value)
                if values is None:
                    continue
                self.decide(layer, "weights folded", f"computed by {display_name(chain[-1])} from constants")
                _replace(model, value, values, chain, leaves)
                modified = True
        return modified


def _constant_chain(value: ir.Value) -> list[ir.Node]:
    """Return the nodes that compute a value from constants, in order; [] if it is no such value or not to be folded."""
    chain: dict[ir.Node, None] = {}
    if not _collect(value, chain):
        return []
    nodes = list(chain)
    leaves = _leaves(nodes)
    if any(str(leaf.name).startswith(MATRIX_PREFIXES) for leaf in leaves):
        return []  # the weights of a rewritten convolution, as trained
    computed = any(node.op_type not in LAYOUT for node in nodes)
    return nodes if computed or all(node.op_type == "Transpose" for node in nodes) else []


def _collect(value: ir.Value, chain: dict[ir.Node, None]) -> bool:
    """Add the nodes that compute a value to `chain`, in order; return whether all of it is constant."""
    tensor = constant(value)
    if tensor is not None:
        return tensor.dtype in DTYPES
    node = value.producer()
    if node is None or node.domain not in STANDARD_DOMAINS or node.op_type not in FOLDED or len(node.outputs) != 1:
        return False
    if node not in chain:
        if not all(each is None or _collect(each, chain) for each in node.inputs):
            return False
        chain[node] = None
    return True


def _leaves(chain: list[ir.Node]) -> list[ir.Value]:
    """Return the constants that the nodes of a chain read."""
    values = [value for node in chain for value in node.inputs if value is not None and constant(value) is not None]
    return list(dict.fromkeys(values))


def _evaluate(
    model: ir.Model, chain: list[ir.Node], leaves: list[ir.Value], result: ir.Value
) -> NDArray[np.float32] | None:
    """Return the value of a chain, computed in float64; None if it is no float32 weight, or much larger than these."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    feeds: dict[str, NDArray[Any]] = {}
    for leaf in leaves:
        tensor: Any = constant(leaf)
        values = np.asarray(tensor.numpy())
        feeds[str(leaf.name)] = values.astype(np.float64) if values.dtype.kind == "f" else values
    dtypes = {constant(leaf).dtype for leaf in leaves}  # pyright: ignore[reportOptionalMemberAccess] - all are constant
    if ir.DataType.FLOAT not in dtypes or ir.DataType.DOUBLE in dtypes:
        return None
    inputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in feeds]
    output = helper.make_tensor_value_info(str(result.name), TensorProto.UNDEFINED, None)
    graph = helper.make_graph([ir.to_proto(node) for node in chain], "weights", inputs, [output])
    imports = [helper.make_opsetid(domain, version) for domain, version in model.graph.opset_imports.items()]
    with native_call("onnx's evaluator"):
        (values,) = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports)).run(None, feeds)
    folded = np.asarray(values).astype(np.float32)
    largest = max(values.size for values in feeds.values()) * folded.itemsize
    return folded if folded.nbytes <= largest + MAX_GROWTH else None


def _replace(
    model: ir.Model, value: ir.Value, values: NDArray[np.float32], chain: list[ir.Node], leaves: list[ir.Value]
) -> None:
    """Replace a computed value by an initialiser, and remove what nothing else reads."""
    value.replace_all_uses_with(add_initializer(model, f"{value.name}.folded", ir.tensor(values)))
    for node in reversed(chain):
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            model.graph.remove(node, safe=True)
    remove_unused_initializers(model, leaves)
