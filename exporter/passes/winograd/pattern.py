"""Which convolutions can be rewritten.

A match is a convolution with a kernel of 3x3x3 (or 1x3x3, or 3x3) and stride 1, with the ReLU and the max pool that
follow it, in either order: both are monotonic, so they commute with each other and with adding a bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from exporter.onnx_io.attributes import read_attributes
from exporter.onnx_io.windows import explicit_pads
from exporter.passes.decisions import FIX_SIZES, Refusal
from exporter.passes.graph import constant, following_relu_and_pool, single_consumer
from exporter.passes.shapes import get_shape
from exporter.passes.winograd.cook_toom import TAPS

INPUT_RANK, IMAGE = 5, 4
"""Ranks: (N, C, T, H, W) and (N, C, H, W)."""
KERNELS = ((TAPS,) * 3, (1, TAPS, TAPS), (TAPS,) * 2)
TIME_KERNEL = (TAPS, 1, 1)
"""A kernel of frames alone: the second half of a factorised convolution, as in R(2+1)D and S3D."""
PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
MIN_OPSET = 13
"""The first opset in which Slice, ReduceMax and the other operators have the inputs that are used here."""


@dataclass(frozen=True)
class ConvMatch:
    """A convolution that can be rewritten. An image is a volume of one frame.

    Attributes:
        conv: the node.
        relu: the ReLU after it, or None.
        pool: the MaxPool after it, or None.
        rank: the rank of the input, 5 or 4.
        inputs: input channels, C.
        outputs: output channels, K.
        taps: frames of the kernel, 3 or 1.
        size: (T, H, W) of the input.
        before: padding before (T, H, W).
        after: padding after (T, H, W).
        space_taps: rows and columns of the kernel, 3 or 1.
    """

    conv: ir.Node
    relu: ir.Node | None
    pool: ir.Node | None
    rank: int
    inputs: int
    outputs: int
    taps: int
    size: tuple[int, int, int]
    before: tuple[int, int, int]
    after: tuple[int, int, int]
    space_taps: int = TAPS

    @property
    def all_taps(self) -> int:
        """The taps of the kernel."""
        return self.taps * self.space_taps**2

    @property
    def convolved(self) -> tuple[int, int, int]:
        """(T, H, W) of the convolution's output."""
        kernel = (self.taps, self.space_taps, self.space_taps)
        sides = zip(self.size, self.before, self.after, kernel, strict=True)
        return triple([size + before + after - taps + 1 for size, before, after, taps in sides])

    @property
    def window(self) -> tuple[int, int, int]:
        """The max pool's window, (1, 1, 1) without one."""
        if self.pool is None:
            return 1, 1, 1
        kernel = self.pool.attributes.get_ints("kernel_shape")
        assert kernel is not None
        return triple((1, *kernel) if len(kernel) == IMAGE - 2 else kernel)

    @property
    def result(self) -> tuple[int, int, int]:
        """(T, H, W) after the pool."""
        return triple([size // step for size, step in zip(self.convolved, self.window, strict=True)])

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The nodes that are replaced, in the order of the graph."""
        chain, node = [self.conv], self.conv
        while (following := single_consumer(node.outputs[0])) is not None and following in (self.relu, self.pool):
            chain.append(following)
            node = following
        return tuple(chain)


def match_conv(conv: ir.Node, kernels: Sequence[tuple[int, ...]] = KERNELS) -> ConvMatch | str:
    """Return the match of a Conv node with one of `kernels`, or a sentence why it cannot be rewritten."""
    reason = _check_weights(conv, kernels) or _check_steps(conv) or _check_size(conv)
    if reason is not None:
        return reason
    weight = constant(conv.inputs[1])
    assert weight is not None
    outputs, inputs, *kernel = weight.shape.numpy()
    axes = len(kernel)
    lead = (0,) * (INPUT_RANK - 2 - axes)
    relu, pool = following_relu_and_pool(conv)
    size = tuple(size for size in (get_shape(conv.inputs[0]) or ())[2:] if isinstance(size, int))
    pads = explicit_pads(read_attributes(conv), size, kernel, [1] * axes)
    match = ConvMatch(
        conv,
        relu,
        pool,
        rank=axes + 2,
        inputs=inputs,
        outputs=outputs,
        taps=1 if lead else kernel[0],
        size=triple((1,) * len(lead) + size),
        before=triple((*lead, *pads[:axes])),
        after=triple((*lead, *pads[axes:])),
        space_taps=kernel[-1],
    )
    if match.taps == 1 and (match.before[0] or match.after[0]):
        return "it pads frames around a kernel of one"
    if min(match.convolved) < 1:
        return "its output is empty"
    return match if pool is None or _poolable(match) else _without_pool(match)


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


def _poolable(match: ConvMatch) -> bool:
    """Return whether the pool's windows are adjacent and even, so that each is inside one tile."""
    assert match.pool is not None
    attributes = match.pool.attributes
    kernel = attributes.get_ints("kernel_shape") or []
    if attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or any(attributes.get_ints("pads") or []):
        return False
    if list(attributes.get_ints("strides") or [1] * len(kernel)) != list(kernel):
        return False
    if set(attributes.get_ints("dilations") or [1]) != {1}:
        return False
    window = match.window
    whole = all(size % step == 0 for size, step in zip(match.convolved, window, strict=True))
    return window[0] in (1, 2) and window[1:] == (2, 2) and whole


def _without_pool(match: ConvMatch) -> ConvMatch:
    """Return the match without its pool, and without a ReLU after the pool."""
    assert match.pool is not None
    relu = match.relu if match.relu is not None and single_consumer(match.conv.outputs[0]) is match.relu else None
    return replace(match, relu=relu, pool=None)


def triple(values: Sequence[int]) -> tuple[int, int, int]:
    """Return three values as a tuple of three."""
    time, height, width = values
    return time, height, width


def _join(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
