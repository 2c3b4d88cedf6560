"""Convolutions rewritten for OpenVINO compute what torch does in float64, in onnxruntime and in OpenVINO."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from helpers.extras import needs_openvino
from helpers.graphs import graph, node, normal, run_onnxruntime
from numpy.typing import NDArray
from torch.nn import functional

from exporter.engines.openvino import import_openvino
from exporter.openvino_ir import compile_options
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, infer_shapes
from exporter.passes.winograd import tiling
from exporter.passes.winograd.pattern import match_conv
from exporter.passes.winograd.replace import replace_conv
from exporter.passes.winograd.tile_shape import TileShape

INPUTS, OUTPUTS = 3, 5
TOLERANCE = 2e-5
"""Of the largest output: float32 sums, which the transforms of a tile of 4 magnify by about 10."""
LARGEST = TileShape(4, 4)


@dataclass(frozen=True)
class Case:
    size: tuple[int, int, int]
    tile: TileShape = LARGEST
    pads: tuple[int, ...] = (1,) * 6
    pool: tuple[int, int, int] | None = None
    bias: bool = True
    opset: int = 17


CASES = {
    "whole tiles": Case((8, 32, 32)),
    "odd sizes": Case((5, 33, 31)),
    "odd frames": Case((3, 17, 18), TileShape(2, 2)),
    "a single tile along time": Case((4, 35, 30)),
    "two frames are one tile": Case((2, 18, 18), TileShape(2, 2)),
    "time steps with many tiles": Case((6, 50, 47)),
    "few tiles": Case((4, 14, 13), TileShape(4, 2)),
    "other pads": Case((7, 33, 34), pads=(0, 2, 1, 2, 0, 1)),
    "no bias": Case((5, 31, 33), bias=False),
    "pool": Case((8, 32, 32), pool=(2, 2, 2)),
    "pool that leaves a rest": Case((7, 33, 35), pool=(2, 2, 2)),
    "pool of space": Case((6, 34, 31), TileShape(2, 4), pool=(1, 2, 2)),
    "the newest axes of ReduceMax": Case((6, 32, 33), TileShape(4, 2), pool=(2, 2, 2), opset=18),
    "the oldest opset": Case((6, 18, 20), TileShape(4, 2), opset=13),
}
WEIGHT, BIAS = normal(OUTPUTS, INPUTS, 3, 3, 3), normal(OUTPUTS)


def rewritten(case: Case, *, precomputed: bool = False) -> onnx.ModelProto:
    """Return Conv, ReLU and pool as OpenVINO gets them."""
    conv = node("Conv", "x w b" if case.bias else "x w", "c", kernel_shape=[3] * 3, pads=case.pads)
    last = "r" if case.pool else "y"
    nodes = [conv, node("Relu", "c", last)]
    if case.pool:
        nodes.append(node("MaxPool", "r", "y", kernel_shape=case.pool, strides=case.pool))
    weights = {"w": WEIGHT, **({"b": BIAS} if case.bias else {})}
    held = ir.from_proto(
        graph(nodes, {"x": ("n", INPUTS, *case.size)}, {"y": ("n", "k", "t", "h", "w")}, weights, case.opset)
    )
    infer_shapes(held)
    match = match_conv(find_nodes(held, "Conv")[0])
    assert isinstance(match, ConvMatch), match
    replace_conv(held, match, case.tile, precomputed=precomputed, engine="openvino")
    made = ir.to_proto(held)
    onnx.checker.check_model(made, full_check=True)
    return made


def expected(case: Case, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what torch computes in float64."""
    sides = [case.pads[index] for axis in (2, 1, 0) for index in (axis, axis + 3)]
    padded = functional.pad(torch.from_numpy(x).double(), sides)
    bias = torch.from_numpy(BIAS).double() if case.bias else None
    y = torch.relu(functional.conv3d(padded, torch.from_numpy(WEIGHT).double(), bias))
    return (y if case.pool is None else functional.max_pool3d(y, case.pool)).numpy()


def clips(case: Case) -> NDArray[np.float32]:
    return normal(2, INPUTS, *case.size)


def assert_close(values: NDArray[Any], case: Case) -> None:
    exact = expected(case, clips(case))
    assert values.shape == exact.shape
    assert np.abs(values - exact).max() <= TOLERANCE * np.abs(exact).max()


@pytest.mark.parametrize("name", CASES)
def test_it_keeps_the_function(name: str) -> None:
    made = rewritten(CASES[name])
    groups = [attribute.i for op in made.graph.node for attribute in op.attribute if attribute.name == "group"]
    assert set(groups) == {INPUTS}, "the space transform is depthwise"
    assert_close(run_onnxruntime(made, {"x": clips(CASES[name])})["y"], CASES[name])


@needs_openvino
@pytest.mark.parametrize("name", ["odd sizes", "pool that leaves a rest", "two frames are one tile"])
def test_it_keeps_the_function_in_openvino(name: str) -> None:
    openvino = import_openvino()
    made = rewritten(CASES[name]).SerializeToString()
    compiled = openvino.Core().compile_model(openvino.Core().read_model(made, b""), "CPU", compile_options("fp32"))
    assert_close(np.asarray(compiled([clips(CASES[name])])[0]), CASES[name])


def test_precomputed_weights_are_those_of_the_nodes() -> None:
    case = CASES["pool"]
    made = rewritten(case, precomputed=True)
    assert "w.winograd" in {held.name for held in made.graph.initializer}
    assert_close(run_onnxruntime(made, {"x": clips(case)})["y"], case)


def test_parts_of_time_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "MAX_PRODUCT", 1)
    case = CASES["time steps with many tiles"]
    made = rewritten(case)
    assert [op.op_type for op in made.graph.node].count("Concat") == 2 + 1  # each part's points, and the parts
    assert_close(run_onnxruntime(made, {"x": clips(case)})["y"], case)
