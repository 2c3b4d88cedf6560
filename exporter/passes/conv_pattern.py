"""Convolutions with the ReLU and the max pool after them, and which of volumes can be computed in 2-D."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from exporter.passes.builder import MATRIX_PREFIXES
from exporter.passes.cancel_transposes import FRAMES, LAST, permuted
from exporter.passes.graph import constant, following_relu_and_pool, get_shape, single_consumer
from exporter.passes.move_transposes import BINARY, UNARY

VECTOR = 16
"""Floats of an AVX-512 vector: the columns of a matrix product that are computed at once. onnxruntime's direct kernel
takes fewer channels than that."""
ALIGNED = 4
"""Where a convolution has more channels, a multiple of this many are put into the blocked layout."""
MAX_FRAMES = 64
"""Frames, at most: the matrix that selects input frames grows with their square."""
AXES = 3
"""Axes of a 3-D convolution."""
CONV2D = "conv2d"
"""The action of a convolution that is computed in 2-D."""


@dataclass(frozen=True)
class Window:
    """The window of a convolution or a pool over (T, H, W)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def output_size(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (T, H, W) of the output for an input of `size`, rounded down."""
        reach = [dilation * (taps - 1) + 1 for taps, dilation in zip(self.kernel, self.dilations, strict=True)]
        time, height, width = (
            (length + before + after - taps) // stride + 1
            for length, before, after, taps, stride in zip(
                size, self.before, self.after, reach, self.strides, strict=True
            )
        )
        return time, height, width

    @property
    def single_frames(self) -> bool:
        """Whether each output frame reads one input frame, in order."""
        return (self.kernel[0], self.strides[0], self.before[0], self.after[0]) == (1, 1, 0, 0)

    def attributes(self) -> dict[str, list[int]]:
        """Return the attributes of the node."""
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "dilations": list(self.dilations),
            "pads": [*self.before, *self.after],
        }

    def over_space(self) -> "Window":
        """Return the same window over (H, W)."""
        return Window(self.kernel[1:], self.strides[1:], self.dilations[1:], self.before[1:], self.after[1:])

    def over_frames(self) -> "Window":
        """Return the same window over T alone, of volumes."""
        kernel, strides, dilations = ((taps[0], 1, 1) for taps in (self.kernel, self.strides, self.dilations))
        return Window(kernel, strides, dilations, (self.before[0], 0, 0), (self.after[0], 0, 0))


@dataclass(frozen=True)
class ConvMatch:
    """A convolution with the ReLU and the max pool after it. An image is a volume of one frame.

    Attributes:
        nodes: convolution, ReLU and pool, if there are any, in the order of the graph.
        inputs: input channels, C.
        outputs: output channels, K.
        size: (T, H, W) of the input.
        window: the convolution's window.
        pool: the pool's window, or None.
        image: whether the input is (N, C, H, W) and not (N, C, T, H, W).
    """

    nodes: tuple[ir.Node, ...]
    inputs: int
    outputs: int
    size: tuple[int, ...]
    window: Window
    pool: Window | None
    image: bool = False

    @property
    def conv(self) -> ir.Node:
        """The convolution."""
        return self.nodes[0]

    @property
    def has_relu(self) -> bool:
        """Whether one of the nodes is a ReLU."""
        return any(node.op_type == "Relu" for node in self.nodes)

    @property
    def taps(self) -> int:
        """Frames of the kernel."""
        return self.window.kernel[0]

    @property
    def time_only(self) -> bool:
        """Whether the kernel has a single row and column."""
        return set(self.window.kernel[1:]) == {1}

    @property
    def convolved(self) -> tuple[int, int, int]:
        """(T, H, W) of the convolution's output."""
        return self.window.output_size(self.size)

    @property
    def pool_window(self) -> tuple[int, ...]:
        """The pool's (T, H, W), (1, 1, 1) without one."""
        return (1, 1, 1) if self.pool is None else self.pool.kernel

    @property
    def pooled(self) -> tuple[int, int, int]:
        """(T, H, W) of the result."""
        return self.convolved if self.pool is None else self.pool.output_size(self.convolved)

    @property
    def selects(self) -> bool:
        """Whether input frames must be selected or copied: otherwise each output frame reads one, in order."""
        return not self.window.single_frames

    @property
    def pools_frames(self) -> bool:
        """Whether the pool takes the maximum over frames too."""
        return self.pool is not None and not self.pool.single_frames

    @property
    def few_channels(self) -> bool:
        """Whether it is a first layer: few channels of images, and a pool that keeps their layout."""
        return self.pool is not None and not self.pools_frames and self.inputs * self.taps < VECTOR

    @property
    def source(self) -> ir.Value:
        """The input of the convolution."""
        source = self.conv.inputs[0]
        assert source is not None
        return source

    @property
    def result(self) -> ir.Value:
        """The output of the last node."""
        return self.nodes[-1].outputs[0]

    @property
    def channels_last(self) -> bool:
        """Whether every consumer of the result transposes it to channels last."""
        uses = [use.node for use in self.result.uses()]
        transposed = all(permuted(node, self.result.producer()) == LAST for node in uses)
        return bool(uses) and transposed and not self.result.is_graph_output()

    @property
    def given_frames_first(self) -> bool:
        """Whether the input exists with frames before channels, so that no Transpose is left before the convolution."""
        return _given_frames_first(self.source)

    @property
    def wanted_frames_first(self) -> bool:
        """Whether the result is read with frames before channels, so that no Transpose is left after it."""
        return _wanted_frames_first(self.result)


def match_conv2d(conv: ir.Node) -> ConvMatch | None:
    """Return the match of a Conv node, or None if it cannot be computed in 2-D in onnxruntime's blocked layout."""
    match = match_constant(conv, ir.DataType.FLOAT)
    if match is None:
        return None
    images = match.inputs * match.taps
    if images >= VECTOR and images % ALIGNED:
        return None
    return None if match.selects and match.size[0] > MAX_FRAMES else match


def match_constant(conv: ir.Node, dtype: ir.DataType) -> ConvMatch | None:
    """Return the match of a Conv node whose weights are constants of `dtype`, or None; see `match_volumes`."""
    weight = constant(conv.inputs[1])
    if weight is None or weight.dtype != dtype or str(getattr(conv.inputs[1], "name", "")).startswith(MATRIX_PREFIXES):
        return None  # the last: the transform of a rewritten convolution
    return match_volumes(conv)


def match_volumes(conv: ir.Node) -> ConvMatch | None:
    """Return the match of a Conv node, or None for one that is not 3-D, in groups, or of unknown size."""
    shape, weight = get_shape(conv.inputs[0]), get_shape(conv.inputs[1])
    if shape is None or weight is None or len(weight) != AXES + 2 or conv.attributes.get_int("group", 1) != 1:
        return None
    size, known = ([length for length in each if isinstance(length, int)] for each in (shape[2:], weight))
    if len(size) != AXES or len(known) != AXES + 2:
        return None
    outputs, channels, *kernel = known
    window = read_window(conv, tuple(kernel))
    if window is None or min(window.output_size(tuple(size))) < 1:
        return None
    nodes, pool = match_followers(conv, window.output_size(tuple(size)))
    return ConvMatch(nodes, channels, outputs, tuple(size), window, pool)


def match_followers(
    conv: ir.Node,
    convolved: tuple[int, int, int],
    read_pool: Callable[[ir.Node, tuple[int, int, int]], Window | None] | None = None,
) -> tuple[tuple[ir.Node, ...], Window | None]:
    """Return a convolution with the ReLU and the pool after it, in either order, and the pool's window.

    Args:
        conv: the convolution.
        convolved: (T, H, W) of its output.
        read_pool: returns the window of a pool of such a size, or None to leave it out; by default `read_window`.
    """
    relu, pool = following_relu_and_pool(conv)
    before = (relu,) if relu is not None and single_consumer(conv.outputs[0]) is relu else ()
    window = None
    if pool is not None:
        window = read_window(pool) if read_pool is None else read_pool(pool, convolved)
    if pool is None or window is None or min(window.output_size(convolved)) < 1:
        return (conv, *before), None
    after = (relu,) if relu is not None and not before else ()
    return (conv, *before, pool, *after), window


def _given_frames_first(value: ir.Value) -> bool:
    """Return whether a value is transposed from frames before channels, or elementwise operators' result of such."""
    producer = value.producer()
    if producer is None:
        return False
    if permuted(producer, producer) == FRAMES:
        return True
    inputs = [each for each in producer.inputs if each is not None]
    return producer.op_type in (*UNARY, *BINARY) and any(_given_frames_first(each) for each in inputs)


def _wanted_frames_first(value: ir.Value) -> bool:
    """Return whether a value, or what elementwise operators make of it, is read with frames before channels."""
    for node in (use.node for use in value.uses()):
        if permuted(node, node) == FRAMES:
            return True
        if node.op_type in (*UNARY, *BINARY):
            others = [each for each in node.inputs if each is not None and each is not value]
            if any(_given_frames_first(each) for each in others) or _wanted_frames_first(node.outputs[0]):
                return True
    return False


def read_window(node: ir.Node, kernel: tuple[int, ...] = (), *, rounded_up: bool = False) -> Window | None:
    """Return a node's window over (T, H, W), or None if its padding is automatic or its output size is rounded up.

    Args:
        node: a convolution or a pool, over (T, H, W) or (H, W).
        kernel: what the weights say; otherwise the attribute.
        rounded_up: whether the output size may be rounded up.
    """
    auto, ceil = node.attributes.get_string("auto_pad", "NOTSET"), node.attributes.get_int("ceil_mode", 0)
    kernel = kernel or tuple(node.attributes.get_ints("kernel_shape") or ())
    axes = len(kernel)
    if auto not in ("NOTSET", "VALID") or (ceil and not rounded_up) or axes not in (AXES - 1, AXES):
        return None
    pads = tuple((node.attributes.get_ints("pads") if auto == "NOTSET" else None) or [0] * (2 * axes))
    strides, dilations = (tuple(node.attributes.get_ints(key) or [1] * axes) for key in ("strides", "dilations"))
    return make_window(kernel, strides, dilations, pads)


def make_window(kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int]) -> Window:
    """Return a window over (T, H, W) from attributes in ONNX's order; those over (H, W) cover one frame."""
    axes = len(kernel)
    one, none = (1,) * (AXES - axes), (0,) * (AXES - axes)
    sides = (*none, *pads[:axes]), (*none, *pads[axes:])
    return Window((*one, *kernel), (*one, *strides), (*one, *dilations), *sides)
