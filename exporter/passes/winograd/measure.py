"""One match alone, as a model of its own in each tile shape: what `--autotune` measures."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from exporter.passes.autotune import measure
from exporter.passes.base import nodes_of
from exporter.passes.subgraph import INPUT, extract_subgraph
from exporter.passes.winograd.emit import replace_conv
from exporter.passes.winograd.pattern import IMAGE, ConvMatch, match_conv
from exporter.passes.winograd.tile_shape import TileShape
from models.progress import Progress, no_progress


def measure_tile_shapes(
    match: ConvMatch,
    tile_shapes: dict[str, TileShape | None],
    opset: int,
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> dict[str, float]:
    """Run a match's tile shapes in turn on this machine, one clip each.

    Args:
        match: the convolution with what follows it.
        tile_shapes: by name; None is the convolution as it is.
        opset: of the model it stands in.
        progress: called at each step.
        cache: folder of earlier measurements, or None.

    Returns:
        {tile shape: milliseconds}, without those that onnxruntime refused.
    """
    models = {title: ir.to_proto(make_candidate(match, tile_shape, opset)) for title, tile_shape in tile_shapes.items()}
    generator = np.random.default_rng(0)
    x = np.maximum(generator.standard_normal((1, *_shape(match)), dtype=np.float32), 0)  # what a ReLU leaves
    return measure(models, {INPUT: x}, progress, cache)


def make_candidate(
    match: ConvMatch, tile_shape: TileShape | None, opset: int, size: tuple[int, ...] | None = None
) -> ir.Model:
    """Return a model of nothing but the match, in `tile shape`; `size` (T, H, W) replaces its own."""
    shape = _shape(match) if size is None else (match.inputs, *(size[1:] if match.rank == IMAGE else size))
    model = extract_subgraph(match.nodes, opset, shape)
    if tile_shape is not None:
        copied = match_conv(nodes_of(model, "Conv")[0])
        assert isinstance(copied, ConvMatch), copied
        replace_conv(model, copied, tile_shape, precomputed=False)
    return model


def _shape(match: ConvMatch) -> tuple[int, ...]:
    return (match.inputs, *(match.size[1:] if match.rank == IMAGE else match.size))
