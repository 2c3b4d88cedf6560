"""How much a tile shape rounds: one layer alone, its real weights on a small input, against float64.

The error of a layer does not depend on how large its maps are, so a few tiles are enough. The input is what a ReLU
leaves of standard normal numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import constant
from exporter.passes.subgraph import INPUT
from exporter.passes.winograd.measure import make_candidate
from exporter.passes.winograd.pattern import IMAGE, ConvMatch
from exporter.passes.winograd.tile_shape import TileShape

SMALL = (8, 16, 16)
"""Frames, rows and columns of the input, at most."""


@dataclass(frozen=True)
class LayerErrors:
    """Largest errors, relative to the layer's largest value: of the tile shape, and of the convolution as it is."""

    rewritten: float
    direct: float


def layer_errors(match: ConvMatch, tile_shape: TileShape, opset: int) -> LayerErrors:
    """Run a match with Winograd tiles and as it is in onnxruntime, and compare both with torch's float64."""
    size = tuple(min(given, most) for given, most in zip(match.size, SMALL, strict=True))
    dims = (match.inputs, *(size[1:] if match.rank == IMAGE else size))
    x = np.maximum(np.random.default_rng(0).standard_normal((1, *dims), dtype=np.float32), 0)
    exact = _exact(match, x)
    scale = float(np.abs(exact).max(initial=0)) or 1.0
    errors = [
        float(np.abs(_run(make_candidate(match, shape, opset, size), x) - exact).max(initial=0)) / scale
        for shape in (tile_shape, None)
    ]
    return LayerErrors(*errors)


def _run(model: ir.Model, x: NDArray[np.float32]) -> NDArray[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {INPUT: x})[0])


def _exact(match: ConvMatch, x: NDArray[np.float32]) -> NDArray[np.float64]:
    import torch
    from torch.nn import functional as F

    weight, bias = (constant(match.conv.inputs[place]) if place < len(match.conv.inputs) else None for place in (1, 2))
    assert weight is not None
    axes = match.rank - 2
    sides = [edge for axis in reversed(range(3 - axes, 3)) for edge in (match.before[axis], match.after[axis])]
    convolve, pool = (F.conv2d, F.max_pool2d) if match.rank == IMAGE else (F.conv3d, F.max_pool3d)
    with torch.inference_mode():
        padded = F.pad(torch.from_numpy(x).double(), sides)
        held = None if bias is None else torch.from_numpy(np.array(bias.numpy())).double()
        y = convolve(padded, torch.from_numpy(np.array(weight.numpy())).double(), held)
        if match.relu is not None:
            y = torch.relu(y)
        if match.pool is not None:
            y = pool(y, match.window[3 - axes :])
        return y.numpy()
