"""Paddings of convolutions and pools, as ONNX defines them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.engines.reference.node import Node


def explicit_pads(node: Node, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return what is padded on each axis, all begins and then all ends, so that plain windows give ONNX's result.

    Args:
        node: a convolution or pool, with `auto_pad`, `pads` and `ceil_mode`.
        sizes: the input's spatial sizes.
        spans: what a window covers along each axis, dilation included.
        strides: its steps.

    Source: the formulas of https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    rank, auto_pad = len(sizes), node.attributes.get("auto_pad") or "NOTSET"
    pads = node.attributes.get("pads")
    given = list(pads or [0] * (2 * rank)) if auto_pad == "NOTSET" else [0] * (2 * rank)
    begins, ends = given[:rank], given[rank:]
    for axis, (size, span, stride) in enumerate(zip(sizes, spans, strides, strict=True)):
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            begins[axis], ends[axis] = sorted((total // 2, total - total // 2), reverse=auto_pad == "SAME_LOWER")
        elif node.attributes.get("ceil_mode") and auto_pad != "VALID":
            whole = size + begins[axis] + ends[axis]
            count = -(-(whole - span) // stride) + 1
            count -= (count - 1) * stride >= size + begins[axis]  # a window must begin inside
            ends[axis] += max((count - 1) * stride + span - whole, 0)
    return [*begins, *ends]


def torch_pads(pads: Sequence[int]) -> list[int]:
    """Turn ONNX's begins and ends (one after the other) into torch's pairs, the last axis first."""
    rank = len(pads) // 2
    return [edge for axis in reversed(range(rank)) for edge in (pads[axis], pads[axis + rank])]


def read_window(node: Node, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Return (strides, dilations, spans) of a node with this kernel shape."""
    rank = len(kernel)
    strides = list(node.attributes.get("strides") or [1] * rank)
    dilations = list(node.attributes.get("dilations") or [1] * rank)
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    return strides, dilations, spans
