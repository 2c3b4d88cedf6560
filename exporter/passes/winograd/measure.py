"""A convolution as a model of its own in each tile shape: its time, which `--autotune` measures, and its error.

The error of a layer does not depend on the size of its input, so a few tiles are enough.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.engines.reference.graph import GraphEvaluator
from exporter.engines.reference.operators import Choice
from exporter.engines.reference.weights import Weights
from exporter.onnx_io.cast import cast_model
from exporter.passes.autotune import Measurements, measure, open_session
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, relative_error
from exporter.passes.subgraph import INPUT_NAME, OUTPUT, extract_subgraph
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


def layer_errors(match: ConvMatch, tile_shape: TileShape, opset: int) -> tuple[float, float]:
    """Run a convolution in onnxruntime, rewritten and original, and compare both with float64.

    Returns:
        their largest errors, relative to the layer's largest output.
    """
    size = tuple(min(length, limit) for length, limit in zip(match.size, SMALL, strict=True))
    x = make_input(match, size)
    exact = _run_float64(make_candidate(match, None, opset, size), x)

    def error(shape: TileShape | None) -> float:
        session = open_session(ir.to_proto(make_candidate(match, shape, opset, size)))
        return relative_error(np.asarray(session.run(None, {INPUT_NAME: x})[0]), exact)

    return error(tile_shape), error(None)


def _run_float64(model: ir.Model, x: NDArray[np.float32]) -> NDArray[np.float64]:
    graph, choice = cast_model(ir.to_proto(model), "float64").graph, Choice("float64")
    weights = Weights.of_graph(graph, choice.cast)
    evaluator = GraphEvaluator(graph, weights, model.graph.opset_imports, choice)
    return evaluator.run({INPUT_NAME: x.astype(np.float64)})[OUTPUT]
