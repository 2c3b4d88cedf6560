"""Which operators replace a convolution, by engine and tile shape."""

import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal

from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, infer_shapes
from exporter.passes.winograd.pattern import match_conv
from exporter.passes.winograd.replace import replace_conv
from exporter.passes.winograd.tile_shape import TileShape
from exporter.types import GraphEngine


@pytest.mark.parametrize(
    ("engine", "tile_shape", "kernel", "size", "depthwise"),
    [
        ("openvino", TileShape(4, 4), 3, 36, True),
        ("onnxruntime", TileShape(4, 4), 3, 36, False),
        ("openvino", TileShape(4, 4), 3, 20, False),  # 25 rows: channels are summed in parts
        ("openvino", TileShape(4, 4), 3, 24, True),  # 36 rows
        ("openvino", TileShape(1, 4), 1, 36, False),  # time is not transformed
        ("openvino", TileShape(4, 1), 3, 36, False),  # nor is space
    ],
)
def test_depthwise_transforms_are_for_openvino_and_many_tiles(
    engine: GraphEngine, tile_shape: TileShape, kernel: int, size: int, depthwise: bool
) -> None:
    channels = 16
    conv = node("Conv", "x w", "y", kernel_shape=[kernel, 3, 3], pads=[kernel // 2, 1, 1] * 2)
    weights = {"w": normal(channels, channels, kernel, 3, 3)}
    model = graph([conv], {"x": ("n", channels, 4, size, size)}, {"y": ("n", "k", "t", "h", "w")}, weights)
    held = ir.from_proto(model)
    infer_shapes(held)
    match = match_conv(find_nodes(held, "Conv")[0])
    assert isinstance(match, ConvMatch), match
    replace_conv(held, match, tile_shape, precomputed=False, engine=engine)
    groups = {op.attributes.get_int("group", 1) for op in find_nodes(held, "Conv")}
    assert (channels in groups) == depthwise
    assert [value.name for value in held.graph.outputs] == ["y"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("shared", [False, True])
def test_weights_stay_only_where_another_node_uses_them(engine: GraphEngine, shared: bool) -> None:
    pads = [1] * 6
    nodes = [node("Conv", "x w b", "y", pads=pads)] + [node("Conv", "y w b", "z", pads=pads)] * shared
    weights = {"w": normal(8, 8, 3, 3, 3), "b": normal(8)}
    sizes = ("n", 8, 4, 24, 24)
    held = ir.from_proto(graph(nodes, {"x": sizes}, {"z" if shared else "y": sizes}, weights))
    infer_shapes(held)
    match = match_conv(find_nodes(held, "Conv")[0])
    assert isinstance(match, ConvMatch), match
    replace_conv(held, match, TileShape(4, 4), precomputed=True, engine=engine)
    assert ("w" in held.graph.initializers) == shared
    assert all(value.uses() for value in held.graph.initializers.values())
