"""Pools of any padding, dilation and rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from exporter.engines.reference.kernels.types import to_tensor
from exporter.engines.reference.node import Node, UnsupportedError
from exporter.onnx_io.windows import explicit_pads, read_window, torch_pads

MAX_AXES = 3
"""torch pools 1 to 3 axes."""


def max_pool(node: Node, x: Any) -> Any:
    """Max pool, with flat indices into the whole input if the node has a second output. What is padded never wins."""
    kernel = node.attributes["kernel_shape"]
    rank = len(kernel)
    if not 1 <= rank <= MAX_AXES:
        raise UnsupportedError(f"{rank} spatial axes")
    strides, dilations, spans = read_window(node.attributes, kernel)
    pads = explicit_pads(node.attributes, x.shape[2:], spans, strides, pool=True)
    pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    wide = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    with torch.inference_mode():
        padded = F.pad(to_tensor(wide), torch_pads(pads), value=-np.inf) if any(pads) else to_tensor(wide)
        with_indices = node.outputs > 1
        found = pool(padded, kernel, stride=strides, dilation=dilations, return_indices=with_indices)
    if not with_indices:
        return found.numpy().astype(x.dtype, copy=False)
    y, places = found
    indices = _flat_indices(places.numpy(), padded.shape[2:], x.shape, pads, node.attributes.get("storage_order", 0))
    return y.numpy().astype(x.dtype, copy=False), indices


def _flat_indices(
    places: Any, padded: Sequence[int], shape: tuple[int, ...], pads: Sequence[int], storage_order: int
) -> Any:
    """Turn torch's indices, into the padded spatial axes of one channel, into ONNX's, into the whole input."""
    rank = len(padded)
    coordinates = np.unravel_index(places, tuple(padded))
    inside = [
        np.clip(place - begin, 0, size - 1)
        for place, begin, size in zip(coordinates, pads[:rank], shape[2:], strict=True)
    ]
    flat = np.ravel_multi_index(inside, shape[2:], order="F" if storage_order else "C")
    channels = np.arange(shape[0] * shape[1]).reshape(*shape[:2], *[1] * rank)
    return (flat + channels * int(np.prod(shape[2:]))).astype(np.int64)


EXACT_COUNT = 19
"""The opset from which onnxruntime counts only input and padding in an average pool without `ceil_mode`."""


def average_pool(node: Node, x: Any) -> Any:
    """Average pool: sums along one axis after the other, divided by the number of positions that count."""
    kernel = node.attributes["kernel_shape"]
    strides, dilations, spans = read_window(node.attributes, kernel)
    rank = len(kernel)
    pads = explicit_pads(node.attributes, x.shape[2:], spans, strides, pool=True)
    include = bool(node.attributes.get("count_include_pad"))
    floors = node.opset < EXACT_COUNT and not node.attributes.get("ceil_mode")
    given = pads
    auto_pad = node.attributes.get("auto_pad") or "NOTSET"
    if auto_pad in ("NOTSET", "VALID"):  # what is added for the last window never counts
        given = list((auto_pad == "NOTSET" and node.attributes.get("pads")) or [0] * (2 * rank))
    with torch.inference_mode():
        y = to_tensor(x)
        y = F.pad(y, torch_pads(pads)) if any(pads) else y
        counts = torch.ones(1, dtype=y.dtype)
        for axis in range(rank):
            inside = np.zeros(x.shape[2 + axis] + pads[axis] + pads[axis + rank])
            begin = max(pads[axis] - (given[axis] if include else 0), 0)
            end = pads[axis] + x.shape[2 + axis] + (given[axis + rank] if include else 0)
            room = x.shape[2 + axis] + given[axis] + given[axis + rank]
            if include and floors and room < spans[axis]:
                end = None  # a single window, larger than input and padding: onnxruntime counts all of it
            inside[begin:end] = 1
            window = kernel[axis], strides[axis], dilations[axis], spans[axis]
            y = _slide(y, 2 + axis, window)
            along = _slide(torch.from_numpy(inside).to(y.dtype), 0, window)
            counts = counts.unsqueeze(-1) * along
        y = y / counts
    return y.numpy()


def lp_pool(node: Node, x: Any) -> Any:
    """Lp norm of every window."""
    kernel, p = node.attributes["kernel_shape"], node.attributes.get("p", 2)
    strides, dilations, spans = read_window(node.attributes, kernel)
    pads = explicit_pads(node.attributes, x.shape[2:], spans, strides, pool=True)
    with torch.inference_mode():
        y = to_tensor(x).abs() ** p
        y = F.pad(y, torch_pads(pads)) if any(pads) else y
        for axis in range(len(kernel)):
            y = _slide(y, 2 + axis, (kernel[axis], strides[axis], dilations[axis], spans[axis]))
        return (y ** (1 / p)).numpy()


def _slide(values: torch.Tensor, axis: int, window: tuple[int, int, int, int]) -> torch.Tensor:
    """Add the positions of every window along one axis; `window` is its size, stride, dilation and span."""
    size, stride, dilation, span = window
    count = (values.shape[axis] - span) // stride + 1

    def positions(number: int) -> torch.Tensor:
        begin = number * dilation
        index: list[Any] = [slice(None)] * values.ndim
        index[axis] = slice(begin, begin + (count - 1) * stride + 1, stride)
        return values[tuple(index)]

    total = positions(0)
    for number in range(1, size):
        total = total + positions(number)
    return total


def global_average_pool(_node: Node, x: Any) -> Any:
    """Mean over all spatial axes."""
    return to_tensor(x).mean(dim=tuple(range(2, x.ndim)), keepdim=True).numpy()


def global_max_pool(_node: Node, x: Any) -> Any:
    """Largest value over all spatial axes."""
    return to_tensor(x).amax(dim=tuple(range(2, x.ndim)), keepdim=True).numpy()
