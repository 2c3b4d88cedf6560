"""Weights that Winograd's transforms made are found when they are stored in fewer bits; a changed one is named."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal, save
from helpers.parity import verify
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, infer_shapes
from exporter.passes.winograd.pattern import KERNELS, TIME_KERNEL, match_conv
from exporter.passes.winograd.replace import replace_conv
from exporter.passes.winograd.tile_shape import TileShape
from exporter.results import ParityReport
from exporter.types import GraphEngine

STORED = "w.winograd"
FORMS: dict[str, tuple[TileShape, tuple[int, ...], tuple[int, ...], tuple[int, int], GraphEngine]] = {
    "weights first": (TileShape(4, 4), (3, 3, 3), (5, 8, 8), (16, 16), "onnxruntime"),
    "weights last": (TileShape(2, 2), (3, 3, 3), (4, 20, 20), (16, 16), "onnxruntime"),
    "images": (TileShape(1, 4), (1, 3, 3), (3, 12, 12), (16, 16), "onnxruntime"),
    "two frames": (TileShape(2, 4), (3, 3, 3), (2, 8, 8), (16, 16), "onnxruntime"),
    "channels in parts": (TileShape(2, 2), (3, 3, 3), (4, 4, 4), (512, 4), "onnxruntime"),
    "time alone": (TileShape(4, 1), (3, 3, 3), (6, 6, 6), (16, 32), "onnxruntime"),
    "points of space first": (TileShape(2, 4), (3, 3, 3), (4, 24, 24), (16, 16), "openvino"),
}


def model(name: str) -> onnx.ModelProto:
    _, kernel, size, (inputs, outputs), _ = FORMS[name]
    weights = {"w": normal(outputs, inputs, *kernel) * np.float32(0.1), "b": normal(outputs, seed=3)}
    pads = [side // 2 for side in kernel] * 2
    nodes = [node("Conv", "x w b", "c", kernel_shape=[*kernel], pads=pads), node("Relu", "c", "y")]
    return graph(nodes, {"x": (1, inputs, *size)}, {"y": (1, outputs, *size)}, weights, 21)


def rewrite(name: str) -> onnx.ModelProto:
    tile_shape, *_, engine = FORMS[name]
    held = ir.from_proto(model(name))
    infer_shapes(held)
    match = match_conv(find_nodes(held, "Conv")[0], (*KERNELS, TIME_KERNEL))
    assert isinstance(match, ConvMatch), match
    replace_conv(held, match, tile_shape, precomputed=True, engine=engine)
    return ir.to_proto(held)


def store(made: onnx.ModelProto, form: str, fault: str) -> onnx.ModelProto:
    """Store the transformed weight in fewer bits, with a fault in a channel of an output or input."""
    tensor = next(each for each in made.graph.initializer if each.name == STORED)
    values: NDArray[Any] = numpy_helper.to_array(tensor).copy()
    if fault:
        channel = values[..., 1] if values.ndim > 4 else values[:, 1]
        channel *= np.float32({"scaled": 1.02, "dropped": 0.0}[fault])
    names = [STORED]
    if form == "float16":
        stored = [values.astype(np.float16)]
        nodes = [helper.make_node("Cast", names, ["w.real"], to=TensorProto.FLOAT)]
    else:
        scale = np.abs(values).max(tuple(range(2, values.ndim)), keepdims=True) / np.float32(127)
        stored = [np.rint(values / scale).astype(np.int8), scale]
        names = [STORED, "w.scale"]
        nodes = [helper.make_node("Cast", [STORED], ["w.levels"], to=TensorProto.FLOAT)]
        nodes.append(helper.make_node("Mul", ["w.levels", "w.scale"], ["w.real"]))
    for each in made.graph.node:
        each.input[:] = ["w.real" if value == STORED else value for value in each.input]
    made.graph.initializer.remove(tensor)
    made.graph.initializer.extend(map(numpy_helper.from_array, stored, names))
    rest = [*made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend([*nodes, *rest])
    return made


def compare(name: str, form: str, fault: str, folder: Path) -> ParityReport:
    theirs, mine = folder / "theirs.onnx", folder / "mine.onnx"
    save(theirs, model(name))
    onnx.save(store(rewrite(name), form, fault), mine)
    return verify(mine, theirs, input_types=("random", "uniform"), min_snr=1)


@pytest.mark.parametrize("form", ["float16", "int8"])
@pytest.mark.parametrize("name", [*FORMS])
def test_a_transformed_weight_that_is_only_rounded(name: str, form: str, tmp_path: Path) -> None:
    found = compare(name, form, "", tmp_path).structure
    assert found is not None
    assert found.passed
    assert (found.weights, found.originals, found.altered) == (1, 1, ())


@pytest.mark.parametrize(("form", "fault"), [("float16", "dropped"), ("int8", "scaled")])
@pytest.mark.parametrize("name", [*FORMS])
def test_a_changed_one_is_named(name: str, form: str, fault: str, tmp_path: Path) -> None:
    found = compare(name, form, fault, tmp_path).structure
    assert found is not None
    assert found.passed is False
    assert found.altered == (STORED,)
