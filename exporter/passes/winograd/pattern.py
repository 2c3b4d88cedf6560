"""Which convolutions can be rewritten, and what goes with them.

A match is a convolution of 3x3x3 (or 1x3x3, or 3x3) taps that moves one place at a time, with the ReLU and the max pool
that follow it, in either order: both are monotonic, so they commute with each other and with adding a bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from exporter.passes.base import constant, following_relu_and_pool, single_consumer
from exporter.passes.shapes import shape_of
from exporter.passes.winograd.cook_toom import TAPS

INPUT_RANK, IMAGE = 5, 4
"""Ranks: (N, C, T, H, W) and (N, C, H, W)."""
PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
MIN_OPSET = 13
"""Slice, ReduceMax and the rest take what is built here from this opset on."""


@dataclass(frozen=True)
class ConvMatch:
    """A convolution that can be rewritten. A image is a volume of one frame.

    Attributes:
        conv: the node.
        relu: the ReLU that belongs to it, or None.
        pool: the MaxPool that belongs to it, or None.
        rank: of its input, 5 or 4.
        inputs: C.
        outputs: K.
        taps: along time, 3 or 1.
        size: (T, H, W) of the input.
        before: padding before (T, H, W).
        after: padding after.
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

    @property
    def convolved(self) -> tuple[int, int, int]:
        """Return (T, H, W) of the convolution's output."""
        kernel = (self.taps, TAPS, TAPS)
        time, height, width = (
            size + before + after - taps + 1
            for size, before, after, taps in zip(self.size, self.before, self.after, kernel, strict=True)
        )
        return time, height, width

    @property
    def window(self) -> tuple[int, int, int]:
        """Return the max pool's window, (1, 1, 1) without one."""
        if self.pool is None:
            return 1, 1, 1
        kernel = self.pool.attributes.get_ints("kernel_shape")
        assert kernel is not None
        return (1, *kernel) if len(kernel) == IMAGE - 2 else (kernel[0], kernel[1], kernel[2])  # pyright: ignore[reportReturnType]

    @property
    def result(self) -> tuple[int, int, int]:
        """Return (T, H, W) after the pool."""
        time, height, width = (size // step for size, step in zip(self.convolved, self.window, strict=True))
        return time, height, width

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Return the nodes that the rewritten tile shape replaces, in the order of the graph."""
        chain, node = [self.conv], self.conv
        while (following := single_consumer(node.outputs[0])) is not None and following in (self.relu, self.pool):
            chain.append(following)
            node = following
        return tuple(chain)


def match_conv(conv: ir.Node) -> ConvMatch | str:
    """Return the match of a Conv node, or why it cannot be rewritten, in a sentence."""
    refusal = _weights_refusal(conv) or _steps_refusal(conv) or _size_refusal(conv)
    if refusal is not None:
        return refusal
    weight = constant(conv.inputs[1])
    assert weight is not None
    outputs, inputs, *kernel = weight.shape.numpy()
    before, after = _pads(conv, tuple(kernel))
    lead = (0,) * (INPUT_RANK - 2 - len(kernel))
    relu, pool = following_relu_and_pool(conv)
    size = tuple(size for size in (shape_of(conv.inputs[0]) or ())[2:] if isinstance(size, int))
    match = ConvMatch(
        conv,
        relu,
        pool,
        len(kernel) + 2,
        inputs,
        outputs,
        1 if lead else kernel[0],
        _three((1,) * len(lead) + size),
        _three(lead + before),
        _three(lead + after),
    )
    if match.taps == 1 and (match.before[0] or match.after[0]):
        return "it pads frames around a kernel of one"
    if min(match.convolved) < 1:
        return "its output is empty"
    return match if pool is None or _poolable(match) else _without_pool(match)


def _weights_refusal(conv: ir.Node) -> str | None:
    weight = constant(conv.inputs[1])
    if weight is None:
        return "its weights are not constant"
    if weight.dtype != ir.DataType.FLOAT:
        return f"its weights are {weight.dtype.name.lower()}, not float32"
    kernel = tuple(weight.shape.numpy())[2:]
    if kernel not in ((TAPS,) * 3, (1, TAPS, TAPS), (TAPS,) * 2):
        return f"its kernel is {_times(kernel)}, not 3x3x3, 1x3x3 or 3x3"
    return None


def _steps_refusal(conv: ir.Node) -> str | None:
    if conv.attributes.get_int("group", 1) != 1:
        return "it is a grouped convolution"
    for attribute, name in (("strides", "stride"), ("dilations", "dilation")):
        steps = conv.attributes.get_ints(attribute) or [1]
        if set(steps) != {1}:
            return f"its {name} is {_times(steps)}"
    auto = conv.attributes.get_string("auto_pad", "NOTSET")
    return None if auto in PADDINGS else f"its padding is {auto}"


def _size_refusal(conv: ir.Node) -> str | None:
    shape = shape_of(conv.inputs[0])
    if shape is None:
        return "the shape of its input is not known"
    if not all(isinstance(size, int) for size in shape[2:]):
        return f"the size of its input is free: ({', '.join(str(size or '?') for size in shape)})"
    return None


def _pads(conv: ir.Node, kernel: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding before and after each axis."""
    auto = conv.attributes.get_string("auto_pad", "NOTSET")
    axes = len(kernel)
    if auto == "VALID":
        return (0,) * axes, (0,) * axes
    if auto != "NOTSET":  # an odd kernel at stride 1: the same on either side
        return tuple(size // 2 for size in kernel), tuple(size // 2 for size in kernel)
    pads = tuple(conv.attributes.get_ints("pads") or [0] * (2 * axes))
    return pads[:axes], pads[axes:]


def _poolable(match: ConvMatch) -> bool:
    """Return whether the pool's windows tile the output side by side, so that none leaves a tile."""
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
    """Return the match without its pool, and without a ReLU that stands after the pool."""
    assert match.pool is not None
    relu = match.relu if match.relu is not None and single_consumer(match.conv.outputs[0]) is match.relu else None
    return ConvMatch(
        match.conv,
        relu,
        None,
        match.rank,
        match.inputs,
        match.outputs,
        match.taps,
        match.size,
        match.before,
        match.after,
    )


def _three(values: tuple[int, ...]) -> tuple[int, int, int]:
    time, height, width = values
    return time, height, width


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
