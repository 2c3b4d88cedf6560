"""Paddings of convolutions and pools, as ONNX defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def explicit_pads(
    attributes: Mapping[str, Any],
    sizes: Sequence[int],
    spans: Sequence[int],
    strides: Sequence[int],
    *,
    pool: bool = False,
) -> list[int]:
    """Return what is padded on each axis, all begins and then all ends, so that plain windows give ONNX's result.

    Args:
        attributes: of a convolution or pool: its `auto_pad`, `pads` and `ceil_mode`.
        sizes: the input's spatial sizes.
        spans: what a window covers along each axis, dilation included.
        strides: its steps.
        pool: as onnxruntime pools: an input that lacks less than a step for one window has one.

    Where steps are longer than windows, SAME gives negative numbers: the formula of pools crops. Of convolutions ONNX
    only says that they pad for `ceil(size / stride)` windows, which needs no padding; onnxruntime, which this follows,
    moves the windows inwards by about half of what no window covers (`crops_under_same` finds such nodes).

    Source: the formulas of https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    rank, auto_pad = len(sizes), attributes.get("auto_pad") or "NOTSET"
    pads = attributes.get("pads")
    given = list(pads or [0] * (2 * rank)) if auto_pad == "NOTSET" else [0] * (2 * rank)
    begins, ends = given[:rank], given[rank:]
    for axis, (size, span, stride) in enumerate(zip(sizes, spans, strides, strict=True)):
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            total = (-(-size // stride) - 1) * stride + span - size
            halved = total + (auto_pad == "SAME_LOWER") + (total < 0 and not pool)
            begins[axis] = int(halved / 2)  # rounds to 0
            ends[axis] = total - begins[axis]
        elif pool:
            whole = size + begins[axis] + ends[axis]
            count = int((whole - span) / stride) + 1
            if attributes.get("ceil_mode"):
                count = -(-(whole - span) // stride) + 1
                count -= (count - 1) * stride >= size + begins[axis]  # a window must begin inside
            ends[axis] += max((count - 1) * stride + span - whole, 0) if count > 0 else 0
    return [*begins, *ends]


def crops_under_same(attributes: Mapping[str, Any], kernel: Sequence[int]) -> bool:
    """Return whether a convolution's padding is SAME while its steps are longer than its windows on some axis.

    Args:
        attributes: of the convolution.
        kernel: its spatial sizes.
    """
    strides, _, spans = read_window(attributes, kernel)
    same = attributes.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER")
    return same and any(stride > span for stride, span in zip(strides, spans, strict=False))


def torch_pads(pads: Sequence[int]) -> list[int]:
    """Turn ONNX's begins and ends (one after the other) into torch's pairs, the last axis first."""
    rank = len(pads) // 2
    return [edge for axis in reversed(range(rank)) for edge in (pads[axis], pads[axis + rank])]


def read_window(attributes: Mapping[str, Any], kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Return (strides, dilations, spans) of a node with these attributes and this kernel shape."""
    rank = len(kernel)
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    return strides, dilations, spans
