"""Conv and ConvTranspose in torch: onnx's own take ten times as long."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from exporter.engines.reference.kernels.types import to_tensor
from exporter.engines.reference.kernels.windows import explicit_pads, torch_pads, window_of
from exporter.engines.reference.node import Node, UnsupportedError

MAX_AXES = 3
"""torch convolves 1 to 3 axes."""


def conv(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    """Convolution of any padding: (N, C, …) and (M, C / group, …) to (N, M, …)."""
    rank = w.ndim - 2
    if not 1 <= rank <= MAX_AXES:
        raise UnsupportedError(f"{rank} spatial axes")
    strides, dilations, spans = window_of(node, w.shape[2:])
    pads = explicit_pads(node, x.shape[2:], spans, strides)
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    with torch.inference_mode():
        padded = F.pad(to_tensor(x), torch_pads(pads)) if any(pads) else to_tensor(x)
        bias = None if b is None else to_tensor(b)
        group = node.attributes.get("group", 1)
        y = convolve(padded, to_tensor(w), bias, stride=strides, dilation=dilations, groups=group)
    return y.numpy()


def conv_transpose(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    """Transposed convolution of any padding: (N, C, …) and (C, M / group, …) to (N, M, …)."""
    rank = w.ndim - 2
    if not 1 <= rank <= MAX_AXES:
        raise UnsupportedError(f"{rank} spatial axes")
    strides, dilations, spans = window_of(node, w.shape[2:])
    more = list(node.attributes.get("output_padding") or [0] * rank)
    full = [(size - 1) * step + span for size, step, span in zip(x.shape[2:], strides, spans, strict=True)]
    begins, ends = _transposed_pads(node, x.shape[2:], full, strides, more)
    spread: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    with torch.inference_mode():
        group = node.attributes.get("group", 1)
        y = spread(to_tensor(x), to_tensor(w), stride=strides, dilation=dilations, groups=group)
        if any(begins) or any(ends):
            y = F.pad(y, [-edge for edge in torch_pads([*begins, *ends])])
        if b is not None:
            y += to_tensor(b).reshape(-1, *[1] * rank)
    return y.numpy()


def _transposed_pads(
    node: Node, sizes: tuple[int, ...], full: list[int], strides: list[int], more: list[int]
) -> tuple[list[int], list[int]]:
    """Return what is cut off the full result at both ends of each axis; negative where it is padded.

    Source: the formulas of https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
    """
    rank, auto_pad = len(sizes), node.attributes.get("auto_pad") or "NOTSET"
    shape = node.attributes.get("output_shape")
    if not shape and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        shape = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if not shape:
        pads = list(node.attributes.get("pads") or [0] * (2 * rank)) if auto_pad == "NOTSET" else [0] * (2 * rank)
        return pads[:rank], [pads[axis + rank] - more[axis] for axis in range(rank)]
    begins, ends = [0] * rank, [0] * rank
    for axis, wanted in enumerate(shape[-rank:]):
        total = full[axis] + more[axis] - wanted
        if auto_pad == "SAME_UPPER":
            begins[axis] = total // 2
        else:
            begins[axis] = total - total // 2
        ends[axis] = full[axis] - wanted - begins[axis]
    return begins, ends
