"""Takes the mean over a volume before the Transpose with which a rewritten convolution ends, one axis after the other.

*Given* `y = ReduceMean(Transpose(x, p))` over all axes but batch and channels, or a GlobalAveragePool. *Result*: the
same means over the axes of `x`, the innermost first, and a Transpose of what is left. *Algebra*: a mean over several
axes is the mean of means, because the slices have equal sizes.

onnxruntime moves the Transpose itself, and then sums the whole volume in one go over axes that are not neighbours. The
rounding of n equal numbers that are added one by one grows with n: it was ten times that of the original's sum. Axis by
axis there are at most as many additions as the longest axis has numbers (Higham, *Accuracy and Stability of Numerical
Algorithms*, section 4.2: the error bound of a sum is proportional to its depth).
"""

import onnx_ir as ir

from exporter.passes.base import PASSES_OPSET, NodePass
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, FRAMES, IMAGE_FIRST, permuted
from exporter.passes.graph import constant, display_name, remove_unused_initializers, replace_value, single_consumer


class MeanBeforeTranspose(NodePass):
    """The mean over space and time is taken before a Transpose, axis by axis."""

    name = "mean-before-transpose"
    condition = (
        "A GlobalAveragePool, or a ReduceMean over all axes but batch and channels, of what a rewritten convolution "
        "transposed and nothing else reads."
    )
    reason = "The volume is not copied, and sums of few numbers after each other round less than one of many."
    min_opset = PASSES_OPSET
    operators = ("GlobalAveragePool", "ReduceMean")

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """See `NodePass`."""
        transpose = node.inputs[0].producer() if node.inputs[0] is not None else None
        order = [] if transpose is None else permuted(transpose, node)
        if (
            transpose is None
            or order not in (FIRST, FRAMES, IMAGE_FIRST)
            or single_consumer(transpose.outputs[0]) is not node
            or _axes(node, len(order)) != list(range(2, len(order)))
        ):
            return False
        self.decide(node, "before the transpose", f"{display_name(transpose)} copies what is left only")
        _move(model, node, transpose, order)
        return True


def _axes(mean: ir.Node, rank: int) -> list[int]:
    """Return the axes of a mean, sorted; none where they are not constant."""
    if mean.op_type == "GlobalAveragePool":
        return list(range(2, rank))
    given = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
    axes = given.numpy().tolist() if given is not None else mean.attributes.get_ints("axes") or ()
    return sorted(int(axis) % rank for axis in axes)


def _move(model: ir.Model, mean: ir.Node, transpose: ir.Node, order: list[int]) -> None:
    """Replace a mean of a transposed value; the result keeps its name."""
    builder, source = Builder(model, display_name(mean)), transpose.inputs[0]
    assert source is not None
    kept = mean.op_type == "GlobalAveragePool" or bool(mean.attributes.get_int("keepdims", 1))
    reduced = sorted((order[axis] for axis in range(2, len(order))), reverse=True)
    value = source
    for axis in reduced:
        # those after it were reduced before, so that its number stays
        value = builder.reduce("ReduceMean", f"mean.{axis}", value, axis, f"mean.axis.{axis}", kept=kept)
    if kept:
        value = builder.op("Transpose", "mean.channels_first", value, perm=order)
    model.graph.insert_before(mean, builder.nodes)
    replace_value(mean.outputs[0], value)
    old = list(mean.inputs)
    model.graph.remove([mean], safe=True)
    model.graph.remove([transpose], safe=True)
    remove_unused_initializers(model, old)
