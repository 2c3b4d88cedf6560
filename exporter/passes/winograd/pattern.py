"""Which convolutions can be rewritten.

A match is a convolution with a kernel of 3x3x3 (or 1x3x3, or 3x3) and stride 1, with the ReLU and the max pool that
follow it, in either order: both are monotonic, so they commute with each other and with adding a bias.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exporter.onnx_io.attributes import read_attributes
from exporter.onnx_io.windows import explicit_pads
from exporter.passes.conv_pattern import AXES, ConvMatch, Window, make_window, match_followers, read_window
from exporter.passes.decisions import FIX_SIZES, Refusal
from exporter.passes.graph import constant, get_shape
from exporter.passes.winograd.cook_toom import TAPS

KERNELS = ((TAPS,) * 3, (1, TAPS, TAPS), (TAPS,) * 2)
TIME_KERNEL = (TAPS, 1, 1)
"""A kernel of frames alone: the second half of a factorised convolution, as in R(2+1)D and S3D."""
PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def match_conv(conv: ir.Node, kernels: Sequence[tuple[int, ...]] = KERNELS) -> ConvMatch | str:
    """Return the match of a Conv node with one of `kernels`, or a sentence why it cannot be rewritten."""
    reason = _check_weights(conv, kernels) or _check_steps(conv) or _check_size(conv)
    if reason is not None:
        return reason
    weight = constant(conv.inputs[1])
    assert weight is not None
    outputs, inputs, *kernel = weight.shape.numpy()
    steps = [1] * len(kernel)
    lead = (1,) * (AXES - len(kernel))
    size = tuple(length for length in (get_shape(conv.inputs[0]) or ())[2:] if isinstance(length, int))
    window = make_window(kernel, steps, steps, explicit_pads(read_attributes(conv), size, kernel, steps))
    if window.kernel[0] == 1 and not window.single_frames:
        return "it pads frames around a kernel of one"
    convolved = window.output_size((*lead, *size))
    if min(convolved) < 1:
        return "its output is empty"
    nodes, pool = match_followers(conv, convolved, _read_pool)
    return ConvMatch(nodes, inputs, outputs, (*lead, *size), window, pool, image=bool(lead))


def _check_weights(conv: ir.Node, kernels: Sequence[tuple[int, ...]]) -> str | None:
    weight = constant(conv.inputs[1])
    if weight is None:
        return "its weights are not constant"
    if weight.dtype != ir.DataType.FLOAT:
        return f"its weights are {weight.dtype.name.lower()}, not float32"
    kernel = tuple(weight.shape.numpy())[2:]
    if kernel not in kernels:
        *first, last = (_join(allowed) for allowed in kernels)
        return f"its kernel is {_join(kernel)}, not {', '.join(first)}{' or ' if first else ''}{last}"
    if not np.isfinite(weight.numpy()).all():
        return "its weights are not all finite, and the transform would spread what is not"
    return None


def _check_steps(conv: ir.Node) -> str | None:
    if conv.attributes.get_int("group", 1) != 1:
        return "it is a grouped convolution"
    for attribute, name in (("strides", "stride"), ("dilations", "dilation")):
        steps = conv.attributes.get_ints(attribute) or [1]
        if set(steps) != {1}:
            return f"its {name} is {_join(steps)}"
    auto = conv.attributes.get_string("auto_pad", "NOTSET")
    return None if auto in PADDINGS else f"its padding is {auto}"


def _check_size(conv: ir.Node) -> str | None:
    shape = get_shape(conv.inputs[0])
    if shape is None:
        return "the shape of its input is not known"
    if not all(isinstance(size, int) for size in shape[2:]):
        sizes = ", ".join(str(size or "?") for size in shape)
        return Refusal(f"the size of its input is dynamic: ({sizes})", FIX_SIZES)
    return None


def _read_pool(pool: ir.Node, size: tuple[int, int, int]) -> Window | None:
    """Return the window of a pool if its windows are adjacent and even, so that each is inside one tile."""
    window = read_window(pool, rounded_up=True)  # of whole windows there is nothing to round
    if window is None or any(length % step for length, step in zip(size, window.kernel, strict=True)):
        return None
    adjacent = make_window(window.kernel, window.kernel, (1,) * AXES, (0,) * 2 * AXES)
    return window if window == adjacent and window.kernel in ((1, 2, 2), (2, 2, 2)) else None


def _join(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
