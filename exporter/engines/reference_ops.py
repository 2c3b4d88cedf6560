"""Operators that onnx's reference evaluator takes from torch: its own convolution takes ten times as long."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv import Conv as PlainConv
from onnx.reference.ops.op_conv_transpose import ConvTranspose as PlainConvTranspose
from onnx.reference.ops.op_max_pool import MaxPool as PlainMaxPool
from torch.nn import functional as F

EPSILON = float(np.float32(1e-5))
"""ONNX's default."""
MAX_AXES = 3
"""torch convolves and pools 1 to 3 axes."""


class BatchNormalization(OpRun):
    """Normalisation by given statistics; onnx's own evaluator takes the batch's for opsets 6 to 13."""

    op_domain = ""

    def _run(
        self,
        x: Any,
        scale: Any,
        bias: Any,
        mean: Any,
        var: Any,
        epsilon: Any = None,
        is_test: Any = None,
        momentum: Any = None,
        spatial: Any = None,
        training_mode: Any = None,
    ) -> tuple[Any, ...]:
        del is_test, momentum
        if training_mode or spatial == 0 or len([name for name in self.onnx_node.output if name]) > 1:
            raise NotImplementedError("BatchNormalization in training mode, or with statistics for every position")
        ones = (-1, *[1] * (x.ndim - 2))
        epsilon = EPSILON if epsilon is None else epsilon
        factor = scale.reshape(ones) / np.sqrt(var.reshape(ones) + epsilon)
        return ((factor * (x - mean.reshape(ones)) + bias.reshape(ones)).astype(x.dtype),)


class Conv(OpRun):
    """Convolution of any padding."""

    op_domain = ""

    def _run(
        self,
        X: Any,
        W: Any,
        B: Any = None,
        auto_pad: Any = None,
        dilations: Any = None,
        group: Any = None,
        kernel_shape: Any = None,
        pads: Any = None,
        strides: Any = None,
    ) -> tuple[Any, ...]:
        rank = W.ndim - 2
        if auto_pad not in (None, "NOTSET") or not 1 <= rank <= MAX_AXES:
            plain: Any = PlainConv._run  # pyright: ignore
            return plain(self, X, W, B, auto_pad, dilations, group, kernel_shape, pads, strides)
        convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        ones = [1] * rank
        with torch.inference_mode():
            padded = F.pad(_tensor(X), _torch_pads(pads, rank))
            bias = None if B is None else _tensor(B)
            y = convolve(
                padded, _tensor(W), bias, stride=strides or ones, dilation=dilations or ones, groups=group or 1
            )
        return (y.numpy(),)


class ConvTranspose(OpRun):
    """Transposed convolution; onnx's own evaluator fails on groups."""

    op_domain = ""

    def _run(
        self,
        X: Any,
        W: Any,
        B: Any = None,
        auto_pad: Any = None,
        dilations: Any = None,
        group: Any = None,
        kernel_shape: Any = None,
        output_padding: Any = None,
        output_shape: Any = None,
        pads: Any = None,
        strides: Any = None,
    ) -> tuple[Any, ...]:
        rank = W.ndim - 2
        if auto_pad not in (None, "NOTSET") or output_shape or not 1 <= rank <= MAX_AXES:
            plain: Any = PlainConvTranspose._run  # pyright: ignore
            return plain(
                self, X, W, B, auto_pad, dilations, group, kernel_shape, output_padding, output_shape, pads, strides
            )
        spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        ones, edges, more = [1] * rank, list(pads or [0] * (2 * rank)), list(output_padding or [0] * rank)
        ends = [edges[axis + rank] - more[axis] for axis in range(rank)]  # negative where the output is padded
        with torch.inference_mode():
            y = spread(_tensor(X), _tensor(W), stride=strides or ones, dilation=dilations or ones, groups=group or 1)
            y = F.pad(y, [-edge for edge in _torch_pads([*edges[:rank], *ends], rank)])
            if B is not None:
                y = y + _tensor(B).reshape(-1, *ones)
        return (y.numpy(),)


class MaxPool(OpRun):
    """Max pool of any padding; what is padded never wins. onnx's own fails on several of them (1.23)."""

    op_domain = ""

    def _run(
        self,
        x: Any,
        auto_pad: Any = None,
        ceil_mode: Any = None,
        dilations: Any = None,
        kernel_shape: Any = None,
        pads: Any = None,
        storage_order: Any = None,
        strides: Any = None,
    ) -> tuple[Any, ...]:
        rank = x.ndim - 2
        if len([name for name in self.onnx_node.output if name]) > 1 or not 1 <= rank <= MAX_AXES:
            plain: Any = PlainMaxPool._run  # pyright: ignore
            return plain(self, x, auto_pad, ceil_mode, dilations, kernel_shape, pads, storage_order, strides)
        pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
        strides, dilations = strides or [1] * rank, dilations or [1] * rank
        spans = [(size - 1) * step + 1 for size, step in zip(kernel_shape, dilations, strict=True)]
        edges = _explicit_pads(x.shape[2:], spans, strides, auto_pad, pads, ceil=bool(ceil_mode))
        with torch.inference_mode():
            padded = F.pad(_tensor(x), _torch_pads(edges, rank), value=-np.inf)
            y = pool(padded, kernel_shape, stride=strides, dilation=dilations)
        return (y.numpy().astype(x.dtype, copy=False),)


def _explicit_pads(
    sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int], auto_pad: Any, pads: Any, *, ceil: bool
) -> list[int]:
    """Return what is padded on each axis, all begins and then all ends, so that plain windows give ONNX's result.

    Source: the formulas of https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    rank = len(sizes)
    given = list(pads or [0] * (2 * rank)) if auto_pad in (None, "", "NOTSET") else [0] * (2 * rank)
    begins, ends = given[:rank], given[rank:]
    for axis, (size, span, stride) in enumerate(zip(sizes, spans, strides, strict=True)):
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            begins[axis], ends[axis] = sorted((total // 2, total - total // 2), reverse=auto_pad == "SAME_LOWER")
        elif ceil and auto_pad != "VALID":
            whole = size + begins[axis] + ends[axis]
            count = -(-(whole - span) // stride) + 1
            count -= (count - 1) * stride >= size + begins[axis]  # a window must begin inside
            ends[axis] += max((count - 1) * stride + span - whole, 0)
    return [*begins, *ends]


def _torch_pads(pads: list[int] | None, rank: int) -> list[int]:
    """Turn ONNX's begins and ends (one after the other) into torch's pairs, the last axis first."""
    edges = list(pads or [0] * (2 * rank))
    return [edge for axis in reversed(range(rank)) for edge in (edges[axis], edges[axis + rank])]


def _tensor(array: Any) -> torch.Tensor:
    """Wrap an array; torch warns of those it could write to and must not, and knows no bfloat16 of numpy's."""
    whole = np.ascontiguousarray(array, np.float32 if array.dtype.name == "bfloat16" else None)
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy())
