"""The table of inputs with a meaning of their own, by operator and position.

A valid value follows from the shapes of the node's first input and first output where they are known: what the model
declares for its output is met. It is an array for every feed (a shape, axes, a length), or a range to draw from
(indices, labels, divisors). https://onnx.ai/onnx/operators/ describes the operators.
"""

from __future__ import annotations

from collections.abc import Mapping

from exporter.parity.input_roles import axes, indices, sizes
from exporter.parity.input_roles.image_sizes import IMAGE_SIZES, image_sizes
from exporter.parity.input_roles.input_use import Derive, RoleValue, find_changed
from exporter.types import ValueRange


def _constant(value: RoleValue) -> Derive:
    return lambda use: value


_SCALES = ValueRange(0.01, 0.1)
"""Scales of quantised numbers are positive. Smaller ones would saturate most results, larger ones round them to 0."""
_SCALE_INPUTS = (
    *(("QuantizeLinear", 1), ("DequantizeLinear", 1)),
    *(("QLinearConv", position) for position in (1, 4, 6)),
    *(("QLinearMatMul", position) for position in (1, 4, 6)),
)
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

ROLES: Mapping[tuple[str, int], Derive] = {
    ("Reshape", 1): sizes.reshape,
    ("Expand", 1): sizes.expand,
    ("ConstantOfShape", 0): sizes.fill_shape,
    ("Tile", 1): sizes.repeats,
    ("AffineGrid", 1): sizes.affine_grid,
    (IMAGE_SIZES, 1): image_sizes,
    ("MaxUnpool", 1): indices.unpool_indices,
    ("MaxUnpool", 2): sizes.unpooled,
    ("Resize", 1): lambda use: sizes.scales(use) if len(use.node.input) == 2 else sizes.region(use),
    ("Resize", 2): sizes.scales,
    ("Resize", 3): sizes.resized_sizes,
    ("Upsample", 1): sizes.scales,
    ("CenterCropPad", 1): sizes.resized_sizes,
    ("Col2Im", 1): sizes.image_shape,
    ("Col2Im", 2): sizes.block_shape,
    ("Unsqueeze", 1): axes.inserted_axes,
    ("Squeeze", 1): axes.squeezed_axes,
    **{(f"Reduce{name}", 1): axes.reduced_axes for name in _REDUCTIONS},
    ("CumSum", 1): axes.last_axis,
    ("CumProd", 1): axes.last_axis,
    ("Slice", 1): lambda use: [start for start, _ in axes.slices(use)],
    ("Slice", 2): lambda use: [end for _, end in axes.slices(use)],
    ("Slice", 3): lambda use: axes.slice_axes(use, use.count),
    ("Slice", 4): lambda use: [1] * (use.count or len(axes.slice_axes(use, None))),
    ("Pad", 1): sizes.pads,
    ("Pad", 3): lambda use: find_changed(use, use.count),
    ("Split", 1): sizes.split,
    ("SplitToSequence", 1): sizes.split,
    ("TopK", 1): sizes.top_k,
    ("OneHot", 1): sizes.depth,
    ("Range", 0): sizes.range_bound,
    ("Range", 1): sizes.range_bound,
    ("Range", 2): sizes.range_bound,
    ("NonMaxSuppression", 2): _constant([2]),
    ("NonMaxSuppression", 3): _constant([0.5]),
    ("NonMaxSuppression", 4): _constant([0.0]),
    ("STFT", 1): axes.frame_step,
    ("STFT", 3): axes.frame_length,
    ("DFT", 1): axes.dft_length,
    ("DFT", 2): axes.signal_axis,
    **{(f"{name}Window", 0): sizes.length for name in ("Hann", "Hamming", "Blackman")},
    ("MelWeightMatrix", 0): lambda use: [use.output_shape[1] if use.output_shape else 8],
    ("MelWeightMatrix", 1): lambda use: [2 * (use.output_shape[0] - 1) if use.output_shape else 16],
    ("MelWeightMatrix", 2): _constant([8192]),
    ("MelWeightMatrix", 3): _constant([0.0]),
    ("MelWeightMatrix", 4): _constant([4096.0]),
    ("Dropout", 1): _constant([0.5]),
    ("Trilu", 1): _constant([1]),
    ("Gather", 1): indices.gathered,
    ("GatherElements", 1): indices.gathered,
    ("GatherND", 1): indices.gathered_nd,
    ("Scatter", 1): indices.scattered,
    ("ScatterElements", 1): indices.scattered,
    ("ScatterND", 1): indices.scattered_nd,
    ("NegativeLogLikelihoodLoss", 1): indices.labels,
    ("SoftmaxCrossEntropyLoss", 1): indices.labels,
    ("ReverseSequence", 1): indices.lengths("time_axis"),
    **{(name, 4): indices.lengths("layout") for name in ("RNN", "GRU", "LSTM")},
    ("Attention", 6): indices.key_lengths,
    ("RoiAlign", 2): indices.first_size,
    ("Div", 1): indices.divisor,
    ("Mod", 1): indices.divisor,
    ("BitShift", 1): indices.shift,
    **{key: _constant(_SCALES) for key in _SCALE_INPUTS},
}
"""{(operator, position of the input): how a valid value of it is derived}."""
