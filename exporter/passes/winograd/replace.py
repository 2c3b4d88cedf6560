"""Replaces a convolution by the operators of a tile shape, in the order of operators that suits an engine."""

import onnx_ir as ir

from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import remove_unused_initializers
from exporter.passes.winograd.emit import Emitter, WinogradEmitter
from exporter.passes.winograd.emit_frames import FramesEmitter
from exporter.passes.winograd.emit_points import PointsEmitter, points_first
from exporter.passes.winograd.tile_shape import PLAIN, TileShape
from exporter.types import GraphEngine


def replace_conv(
    model: ir.Model,
    match: ConvMatch,
    tile_shape: TileShape,
    *,
    precomputed: bool,
    engine: GraphEngine = "onnxruntime",
) -> None:
    """Replace a convolution, with its ReLU and pool, by Winograd operators; the result keeps its name."""
    emitter: type[Emitter] = WinogradEmitter
    if tile_shape.space == PLAIN:
        emitter = FramesEmitter
    elif engine == "openvino" and points_first(match, tile_shape):
        emitter = PointsEmitter
    nodes, value = emitter(model, match, tile_shape, precomputed=precomputed).build()
    constants = list(match.conv.inputs[1:])
    ir.convenience.replace_nodes_and_values(model.graph, match.nodes[-1], match.nodes, nodes, [match.result], [value])
    remove_unused_initializers(model, constants)
