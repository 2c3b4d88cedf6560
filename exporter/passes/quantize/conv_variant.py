"""The variants in which onnxruntime's CPU provider can compute an int8 3-D convolution, and their operators.

All variants keep activations in uint8 (N, T, H, W, C), channels last, in the operators QLinearConv and NhwcMaxPool of
the domain com.microsoft: the operators that onnxruntime itself puts in place of QLinearConv and MaxPool, so that no
Transpose is left between layers.

- *3-D*: one QLinearConv.
- *stacked frames*: the frames that an output frame reads are stacked as channels (Pad, Slice, Concat), and a 2-D
  QLinearConv runs over each stack: the same sums. onnxruntime gathers the inputs of a 3-D window on one thread and
  element by element of the window; those of a 2-D one on all threads. A first layer of 3 channels gains most.
- *zero point 1*: weights lie in [-125, 127] around a zero point of 1, which costs one of 127 levels. With zero point 0,
  onnxruntime 1.32 takes a kernel of AVX-512 VNNI instructions; with another it gathers inputs and multiplies matrices,
  in AMX instructions where the processor has them, which are more than twice as fast.

docs/explanation/int8.md has the measurements. *Source*: onnxruntime's `qlinearconv.cc` (`TryConvSymPrepack`) and
`qgemm_kernel_amx.cpp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.builder import Builder
from exporter.passes.conv_pattern import ConvMatch

CONTRIB = "com.microsoft"
"""The domain of onnxruntime's own operators."""


@dataclass(frozen=True)
class ConvVariant:
    """How a convolution is computed.

    Attributes:
        stacked: frames are stacked as channels, and the convolution is 2-D.
        zero_point: of the weight.
    """

    stacked: bool = False
    zero_point: int = 0

    def __str__(self) -> str:
        """Return `2-D over stacked frames, zero point 1`."""
        return f"{'2-D over stacked frames' if self.stacked else '3-D'}, zero point {self.zero_point}"


CONV_VARIANTS = tuple(ConvVariant(stacked, zero_point) for stacked in (False, True) for zero_point in (0, 1))


@dataclass(frozen=True)
class ConvNumbers:
    """The constants of a quantised convolution, as values of the graph except for the weight.

    Attributes:
        source: scale and zero point of the input.
        result: scale and zero point of the output.
        weight: int8 (K, C, t, h, w).
        weight_scale: float32 (K,).
        bias: int32 (K,), or None.
        names: of the weight and of the bias.
    """

    source: tuple[ir.Value, ir.Value]
    result: tuple[ir.Value, ir.Value]
    weight: NDArray[Any]
    weight_scale: NDArray[Any]
    bias: NDArray[Any] | None
    names: tuple[str, str] = ("weight", "bias")


def emit(builder: Builder, x: ir.Value, match: ConvMatch, numbers: ConvNumbers, variant: ConvVariant) -> ir.Value:
    """Make the nodes of a convolution, its ReLU and its pool.

    Args:
        builder: makes them.
        x: uint8 (N, T, H, W, C).
        match: what to compute.
        numbers: its constants; the weight's values lie around `variant.zero_point`.
        variant: how.

    Returns:
        uint8 (N, T', H', W', K). A ReLU is the saturation at the output's zero point, which must then be 0.
    """
    window, (name, bias) = match.window, numbers.names
    zeros = builder.constant(f"{name}.zero_point", np.full(match.outputs, variant.zero_point, np.int8))
    weight, attributes = numbers.weight, window.attributes()
    if variant.stacked:
        x = _stack_frames(builder, x, match, numbers.source[1])
        weight = weight.transpose(0, 2, 1, 3, 4).reshape(match.outputs, -1, *window.kernel[1:])
        attributes = window.over_space().attributes()
    constants = [
        builder.constant(name, np.ascontiguousarray(weight)),
        builder.constant(f"{name}.scale", numbers.weight_scale),
        zeros,
        *numbers.result,
    ]
    if numbers.bias is not None:
        constants.append(builder.constant(bias, numbers.bias))
    x = builder.domain_op(CONTRIB, "QLinearConv", "conv", x, *numbers.source, *constants, channels_last=1, **attributes)
    if variant.stacked:
        x = builder.reshape(x, "volume", -1, *window.output_size(match.size), match.outputs)
    if match.pool is not None:
        x = builder.domain_op(CONTRIB, "NhwcMaxPool", "pool", x, **match.pool.attributes())
    return x


def _stack_frames(builder: Builder, x: ir.Value, match: ConvMatch, zero_point: ir.Value) -> ir.Value:
    """Return (N T', H, W, t C): for each output frame, the t input frames that it reads."""
    window, (_, height, width) = match.window, match.size
    frames, taps = window.output_size(match.size)[0], window.kernel[0]
    before, after = window.before[0], window.after[0]
    if before or after:
        pads = builder.integers(f"pads.{before}.{after}", [0, before, 0, 0, 0, 0, after, 0, 0, 0])
        x = builder.op("Pad", "pad_frames", x, pads, zero_point)
    parts: list[ir.Value] = []
    for tap in range(taps):
        start, stride = tap * window.dilations[0], window.strides[0]
        numbers = (start, start + (frames - 1) * stride + 1, 1, stride)  # start, end, axis, step
        bounds = [builder.integers(f"slice.{number}", [number]) for number in numbers]
        parts.append(builder.op("Slice", f"tap{tap}", x, *bounds))
    stacked = builder.op("Concat", "stack_frames", *parts, axis=4)
    return builder.reshape(stacked, "stacks", -1, height, width, taps * match.inputs)
