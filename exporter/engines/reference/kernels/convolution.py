"""Conv and ConvTranspose: onnx's own take ten times as long, and torch's unrolls its whole input in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from exporter.engines.reference.kernels.types import to_tensor
from exporter.engines.reference.node import Node, UnsupportedError
from exporter.onnx_io.windows import explicit_pads, read_window, torch_pads

MAX_AXES = 3
"""torch convolves 1 to 3 axes."""
WORKSPACE_BYTES = 256 << 20
"""What a slab of a convolution may take beside input and output; a single row may take more."""
MIN_CHANNELS = 8
"""With fewer channels a matrix product per kernel position is slower than torch's convolution."""
MAX_WASTE = 1.2
"""The largest ratio of padded to valid positions for which `_convolve_shifted` is used."""
BLOCK = 4096
"""Positions whose sums are computed together: with 64 channels they take 2 MiB in float64."""


def conv(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    """Convolution of any padding: (N, C, …) and (M, C / group, …) to (N, M, …).

    It is computed in slabs along the first spatial axis, which bounds the memory beside input and output.
    """
    rank = w.ndim - 2
    if not 1 <= rank <= MAX_AXES:
        raise UnsupportedError(f"{rank} spatial axes")
    strides, dilations, spans = read_window(node.attributes, w.shape[2:])
    pads = explicit_pads(node.attributes, x.shape[2:], spans, strides)
    sizes, method, rows, _ = _plan(node, x.shape, w.shape, x.itemsize)
    with torch.no_grad():  # inference mode would end at the threads
        images, kernel = to_tensor(x), to_tensor(w)
        y = torch.empty(x.shape[0], w.shape[0], *sizes, dtype=images.dtype)
        for image, result in zip(images, y, strict=True):
            for begin in range(0, sizes[0], rows):
                count = min(rows, sizes[0] - begin)
                slab = _padded_slab(image, begin * strides[0], (count - 1) * strides[0] + spans[0], pads)
                result[:, begin : begin + count] = method(slab, kernel, strides, dilations, [count, *sizes[1:]])
        if b is not None:
            y += to_tensor(b).reshape(-1, *[1] * rank)
    return y.numpy()


def conv_workspace(node: Node, x: tuple[int, ...], w: tuple[int, ...]) -> int:
    """Return the bytes that `conv` takes in float64 beside inputs and output, for inputs of these shapes."""
    if not 1 <= len(w) - 2 <= MAX_AXES:
        return 0
    _, _, rows, row_bytes = _plan(node, x, w, 8)
    return rows * row_bytes


def _plan(node: Node, x: tuple[int, ...], w: tuple[int, ...], itemsize: int) -> tuple[list[int], Method, int, int]:
    """Return the output's spatial sizes, the method, the rows of a slab, and what each row takes in bytes."""
    strides, _, spans = read_window(node.attributes, w[2:])
    pads = explicit_pads(node.attributes, x[2:], spans, strides)
    padded = [size + pads[axis] + pads[axis + len(spans)] for axis, size in enumerate(x[2:])]
    sizes = [(whole - span) // stride + 1 for whole, span, stride in zip(padded, spans, strides, strict=True)]
    method, row_bytes = _choose_method(node, w, sizes, padded, strides, itemsize)
    return sizes, method, max(1, min(sizes[0], WORKSPACE_BYTES // max(row_bytes, 1))), row_bytes


Method = Callable[[torch.Tensor, torch.Tensor, list[int], list[int], list[int]], torch.Tensor]
"""Takes a padded slab (C, …), the kernel, strides, dilations and output sizes; returns (M, …)."""


def _choose_method(
    node: Node, w: tuple[int, ...], sizes: list[int], padded: list[int], strides: list[int], itemsize: int
) -> tuple[Method, int]:
    """Return how slabs are convolved, and the memory that this takes for each row of a slab."""
    group = node.attributes.get("group", 1)
    channels, line = w[1] * group, math.prod(padded[1:])
    if group == w[0] and w[1] == 1:
        return _convolve_channels, itemsize * line * (channels * strides[0] + 2 * w[0])
    if group == 1 and set(strides) == {1} and min(w[:2]) >= MIN_CHANNELS and line <= MAX_WASTE * math.prod(sizes[1:]):
        return _convolve_shifted, itemsize * line * (channels + w[0])

    def convolve(slab: torch.Tensor, w: torch.Tensor, strides: list[int], dilations: list[int], _: list[int]) -> Any:
        function: Any = (F.conv1d, F.conv2d, F.conv3d)[w.ndim - 3]
        return function(slab[None], w, stride=strides, dilation=dilations, groups=group)[0]

    columns = channels * math.prod(w[2:]) * math.prod(sizes[1:])  # torch unrolls every window
    return convolve, itemsize * (columns + line * channels * strides[0] + math.prod(sizes[1:]) * w[0])


def _padded_slab(image: torch.Tensor, begin: int, length: int, pads: list[int]) -> torch.Tensor:
    """Return rows `begin` to `begin + length` of the padded image, (C, length, …)."""
    rank = len(pads) // 2
    low, high = begin - pads[0], begin - pads[0] + length
    rows = image[:, max(low, 0) : max(min(high, image.shape[1]), 0)]
    edges = [max(-low, 0), *pads[1:rank], length - rows.shape[1] - max(-low, 0), *pads[rank + 1 :]]
    return F.pad(rows, torch_pads(edges)) if any(edges) else rows


def _convolve_shifted(
    slab: torch.Tensor, w: torch.Tensor, strides: list[int], dilations: list[int], sizes: list[int]
) -> torch.Tensor:
    """Convolve as one matrix product per kernel position, over the flattened slab shifted to it.

    A flat index that runs across the end of a line gives a value that is cut off afterwards. Nothing is unrolled, and
    the sums of a block stay in the processor's cache.
    """
    del strides
    steps = [math.prod(slab.shape[axis + 2 :]) for axis in range(len(sizes))]
    flat = slab.reshape(slab.shape[0], -1)
    length = sum((size - 1) * step for size, step in zip(sizes, steps, strict=True)) + 1
    shifts = [
        (sum(p * d * s for p, d, s in zip(place, dilations, steps, strict=True)), w[(..., *place)].contiguous())
        for place in np.ndindex(*w.shape[2:])
    ]
    out = torch.empty(w.shape[0], sizes[0] * steps[0], dtype=slab.dtype)

    def add_products(begin: int) -> None:
        end = min(begin + BLOCK, length)
        block = out[:, begin:end].zero_()
        for shift, matrix in shifts:
            block.addmm_(matrix, flat[:, begin + shift : end + shift])

    _run_in_threads(add_products, range(0, length, BLOCK))
    return out.view(-1, sizes[0], *slab.shape[2:])[(slice(None), *(slice(size) for size in sizes))]


def _run_in_threads(action: Callable[[int], None], items: Sequence[int]) -> None:
    """Run an action for every item, in as many threads as torch uses, each of which computes alone.

    Threads inside one small matrix product would wait for each other at every product.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(action, items):
                pass
    finally:
        torch.set_num_threads(threads)


def _convolve_channels(
    slab: torch.Tensor, w: torch.Tensor, strides: list[int], dilations: list[int], sizes: list[int]
) -> torch.Tensor:
    """Convolve every channel with its own kernel: one multiplication per kernel position."""
    out = torch.zeros(w.shape[0], *sizes, dtype=slab.dtype)
    ones = [1] * len(sizes)
    for place in np.ndindex(*w.shape[2:]):
        window = [
            slice(p * d, p * d + (size - 1) * stride + 1, stride)
            for p, d, size, stride in zip(place, dilations, sizes, strides, strict=True)
        ]
        out.addcmul_(slab[(slice(None), *window)], w[(slice(None), 0, *place)].reshape(-1, *ones))
    return out


def conv_transpose(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    """Transposed convolution of any padding: (N, C, …) and (C, M / group, …) to (N, M, …)."""
    rank = w.ndim - 2
    if not 1 <= rank <= MAX_AXES:
        raise UnsupportedError(f"{rank} spatial axes")
    strides, dilations, spans = read_window(node.attributes, w.shape[2:])
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

    Where SAME asks for more than the full result, because steps are longer than windows, onnxruntime returns just that.

    Source: the formulas of https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
    """
    rank, auto_pad = len(sizes), node.attributes.get("auto_pad") or "NOTSET"
    shape = given = node.attributes.get("output_shape")
    if not shape and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        shape = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if not shape:
        pads = list(node.attributes.get("pads") or [0] * (2 * rank)) if auto_pad == "NOTSET" else [0] * (2 * rank)
        return pads[:rank], [pads[axis + rank] - more[axis] for axis in range(rank)]
    begins, ends = [0] * rank, [0] * rank
    for axis, size in enumerate(shape[-rank:]):
        total = max(full[axis] + more[axis] - size, 0)
        wanted = size if given else full[axis] + more[axis] - total
        if auto_pad == "SAME_UPPER":
            begins[axis] = total // 2
        else:
            begins[axis] = total - total // 2
        ends[axis] = full[axis] - wanted - begins[axis]
    return begins, ends
