"""Removes Transposes that undo each other, as between two layers that both compute with channels last."""

import onnx_ir as ir

from exporter.onnx_io.subgraphs import STANDARD_DOMAINS
from exporter.passes.base import NodePass
from exporter.passes.graph import display_name, replace_value

LAST, FIRST = [0, 2, 3, 4, 1], [0, 4, 1, 2, 3]
"""From (N, C, T, H, W) to (N, T, H, W, C), and back."""
IMAGE_LAST, IMAGE_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
"""From (N, C, H, W) to (N, H, W, C), and back."""
FRAMES = [0, 2, 1, 3, 4]
"""From (N, C, T, H, W) to (N, T, C, H, W), and back."""


class CancelTransposes(NodePass):
    """A Transpose with the inverse permutation of the Transpose before it is removed.

    *Given* `z = Transpose(y, q)`, `y = Transpose(x, p)`, with p[q[i]] = i. *Result*: `z = x`; `y` stays while anything
    else reads it.
    """

    name = "cancel-transposes"
    condition = "A Transpose whose input is a Transpose with the inverse permutation."
    reason = "Both are copies of a whole activation."
    operators = ("Transpose",)

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """See `NodePass`."""
        before = cancel(model, node)
        if before is not None:
            self.decide(node, "removed", f"it undoes {before}")
        return before is not None


def cancel(model: ir.Model, node: ir.Node) -> str | None:
    """Remove a Transpose if it undoes the one before it, whose name is returned; that one goes too if it is unused."""
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    if before is None or not is_inverse(permuted(before, node), permuted(node, before)):
        return None
    source, result = before.inputs[0], node.outputs[0]
    if source is None:
        return None
    if result.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not node.graph or source.is_graph_output():
            return None  # the output needs a node of its own
        replace_value(result, source)
    else:
        result.replace_all_uses_with(source)
    model.graph.remove(node, safe=True)
    if not before.outputs[0].uses() and not before.outputs[0].is_graph_output():
        model.graph.remove(before, safe=True)
    return display_name(before)


def permuted(node: ir.Node, neighbour: ir.Node | None) -> list[int]:
    """Return the permutation of a standard Transpose in the same graph as `neighbour`; [] for other nodes."""
    standard = node.op_type == "Transpose" and node.domain in STANDARD_DOMAINS
    beside = neighbour is not None and node.graph is neighbour.graph
    return list(node.attributes.get_ints("perm") or ()) if standard and beside else []


def is_inverse(p: list[int], q: list[int]) -> bool:
    """Return whether a Transpose by `q` undoes one by `p`; [] is no Transpose."""
    return bool(p) and len(p) == len(q) and all(p[axis] == i for i, axis in enumerate(q))
