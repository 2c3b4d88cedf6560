"""A convolution as a model of its own in each tile shape: its time, which `--autotune` measures, and its error.

The error of a layer does not depend on the size of its input, so a few tiles are enough.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.autotune import Measurements, measure, open_session
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import constant, find_nodes, read_array, relative_error
from exporter.passes.subgraph import INPUT_NAME, extract_subgraph
from exporter.passes.winograd.pattern import KERNELS, TIME_KERNEL, match_conv
from exporter.passes.winograd.replace import replace_conv
from exporter.passes.winograd.tile_shape import TileShape
from models.progress import Progress, no_progress

SMALL = (8, 16, 16)
"""Frames, rows and columns of the input whose rounding error is measured, at most."""


def measure_tile_shapes(
    match: ConvMatch,
    tile_shapes: dict[str, TileShape | None],
    opset: int,
    progress: Progress = no_progress,
    cache: Measurements | None = None,
) -> dict[str, float]:
    """Measure tile shapes of a convolution on this machine with one clip.

    Args:
        match: the convolution with its ReLU and pool.
        tile_shapes: {name: tile shape}; None is the original convolution.
        opset: the opset of its model.
        progress: called at each step.
        cache: earlier measurements; these are added to it.

    Returns:
        {tile shape: milliseconds}, without those that onnxruntime rejects.
    """
    models = {name: ir.to_proto(make_candidate(match, shape, opset)) for name, shape in tile_shapes.items()}
    return measure(models, {INPUT_NAME: make_input(match, match.size)}, progress, cache)


def make_candidate(
    match: ConvMatch, tile_shape: TileShape | None, opset: int, size: tuple[int, ...] | None = None
) -> ir.Model:
    """Return a model of only this convolution in a tile shape; `size` (T, H, W) replaces its own."""
    model = extract_subgraph(match.nodes, opset, _item_shape(match, size or match.size))
    if tile_shape is not None:
        copied = match_conv(find_nodes(model, "Conv")[0], (*KERNELS, TIME_KERNEL))
        assert isinstance(copied, ConvMatch), copied
        replace_conv(model, copied, tile_shape, precomputed=False)
    return model


def make_input(match: ConvMatch, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return one random input of size (T, H, W), as a ReLU before the convolution would return it."""
    values = np.random.default_rng(0).standard_normal((1, *_item_shape(match, size)), dtype=np.float32)
    return np.maximum(values, 0)


def _item_shape(match: ConvMatch, size: tuple[int, ...]) -> tuple[int, ...]:
    return (match.inputs, *(size[1:] if match.image else size))


@dataclass(frozen=True)
class LayerErrors:
    """Largest errors, relative to the layer's largest output: of the tile shape, and of the original convolution."""

    rewritten: float
    direct: float


def layer_errors(match: ConvMatch, tile_shape: TileShape, opset: int) -> LayerErrors:
    """Run a convolution in onnxruntime, rewritten and original, and compare both with torch's float64."""
    size = tuple(min(length, limit) for length, limit in zip(match.size, SMALL, strict=True))
    x = make_input(match, size)
    exact = _run_float64(match, x)

    def error(shape: TileShape | None) -> float:
        session = open_session(ir.to_proto(make_candidate(match, shape, opset, size)))
        return relative_error(np.asarray(session.run(None, {INPUT_NAME: x})[0]), exact)

    return LayerErrors(error(tile_shape), error(None))


def _run_float64(match: ConvMatch, x: NDArray[np.float32]) -> NDArray[np.float64]:
    import torch
    from torch.nn import functional as F

    constants = [read_array(value) for value in match.conv.inputs[1:] if constant(value) is not None]
    weight, *biases = (torch.from_numpy(array.copy()).double() for array in constants)
    first = 1 if match.image else 0  # without the time axis
    pads = [side[axis] for axis in reversed(range(first, 3)) for side in (match.window.before, match.window.after)]
    convolve, pool = (F.conv2d, F.max_pool2d) if match.image else (F.conv3d, F.max_pool3d)
    with torch.inference_mode():
        padded = F.pad(torch.from_numpy(x).double(), pads)
        y = convolve(padded, weight, biases[0] if biases else None)
        if match.has_relu:
            y = torch.relu(y)
        if match.pool is not None:
            y = pool(y, match.pool_window[first:])
        return y.numpy()
