"""The rounding error of a tile shape: one layer with its real weights on a small input, compared with float64.

The error of a layer does not depend on the size of its input, so a few tiles are enough.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.autotune import open_session
from exporter.passes.graph import constant, read_array, relative_error
from exporter.passes.subgraph import INPUT_NAME
from exporter.passes.winograd.measure import make_candidate, make_input
from exporter.passes.winograd.pattern import IMAGE, ConvMatch
from exporter.passes.winograd.tile_shape import TileShape

SMALL = (8, 16, 16)
"""Frames, rows and columns of the input, at most."""


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
    axes = match.rank - 2
    pads = [edge for axis in reversed(range(3 - axes, 3)) for edge in (match.before[axis], match.after[axis])]
    convolve, pool = (F.conv2d, F.max_pool2d) if match.rank == IMAGE else (F.conv3d, F.max_pool3d)
    with torch.inference_mode():
        padded = F.pad(torch.from_numpy(x).double(), pads)
        y = convolve(padded, weight, biases[0] if biases else None)
        if match.relu is not None:
            y = torch.relu(y)
        if match.pool is not None:
            y = pool(y, match.window[3 - axes :])
        return y.numpy()
