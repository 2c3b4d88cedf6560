"""Every form of every kind of site computes what the convolution did."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, infer_shapes
from exporter.passes.winograd import tiling
from exporter.passes.winograd.pattern import KERNELS, TIME_KERNEL, match_conv
from exporter.passes.winograd.replace import replace_conv
from exporter.passes.winograd.tile_shape import TILE_SHAPES, TileShape
from exporter.passes.winograd.tiling import Tiling, fits

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A convolution of 3 taps with what follows it."""

    size: tuple[int, ...]
    after: tuple[str, ...] = ()
    window: tuple[int, ...] = (2, 2, 2)
    kernel: tuple[int, ...] = (3, 3, 3)
    pads: tuple[int, ...] | None = None
    bias: bool = True
    opset: int = 28
    clips: int = 1
    channels: tuple[int, int] = (5, 6)


CASES = {
    "whole tiles, ReLU and pool": Case((4, 8, 8), ("Relu", "MaxPool")),
    "pool before ReLU": Case((8, 8, 16), ("MaxPool", "Relu")),
    "tiles hang over": Case((4, 14, 10), ("Relu",), clips=3),
    "tiles hang over, pooled": Case((4, 14, 6), ("Relu", "MaxPool"), clips=2),
    "odd everything": Case((5, 7, 9), ("Relu",)),
    "nothing follows, no bias": Case((4, 8, 12), bias=False),
    "pool of space alone": Case((5, 8, 8), ("Relu", "MaxPool"), (1, 2, 2)),
    "no padding": Case((6, 10, 10), ("Relu",), pads=(0, 0, 0, 0, 0, 0)),
    "padding on one side": Case((5, 8, 9), pads=(1, 0, 1, 0, 1, 0)),
    "an old opset": Case((4, 8, 8), ("Relu", "MaxPool"), opset=13),
    "1x3x3 taps": Case((3, 8, 8), ("Relu",), kernel=(1, 3, 3), pads=(0, 1, 1, 0, 1, 1)),
    "1x3x3 taps, pool of time": Case((4, 24, 20), ("Relu", "MaxPool"), kernel=(1, 3, 3), pads=(0, 1, 1) * 2, clips=2),
    "1x3x3 taps, few tiles, pool of time": Case((4, 4, 4), ("MaxPool",), kernel=(1, 3, 3), pads=(0, 1, 1) * 2),
    "images": Case((14, 12), ("Relu", "MaxPool"), (2, 2), (3, 3), clips=2),
    "two frames between zeros": Case((2, 7, 7), ("Relu",), clips=2),
    "two frames between zeros, pooled": Case((2, 8, 8), ("Relu", "MaxPool"), channels=(512, 6)),
    "planes of many tiles": Case((8, 48, 44), ("Relu", "MaxPool"), clips=2),
    "planes of many tiles, 1x3x3 taps": Case((4, 50, 44), ("MaxPool",), kernel=(1, 3, 3), pads=(0, 1, 1) * 2),
    "a long clip": Case((38, 5, 6), ("Relu",), clips=2),
    "whole blocks of channels": Case((6, 6, 5), ("Relu",), channels=(16, 32), clips=2),
    "whole blocks, pool before ReLU": Case((8, 6, 8), ("MaxPool", "Relu"), channels=(16, 16), clips=2),
    "whole blocks, pool of space alone, an old opset": Case(
        (5, 6, 4), ("Relu", "MaxPool"), (1, 2, 2), channels=(16, 16), opset=13
    ),
    "whole blocks, pool, an old opset": Case((4, 6, 4), ("MaxPool",), channels=(16, 16), opset=13),
    "whole blocks, two frames between zeros": Case((2, 5, 5), ("Relu",), channels=(16, 16), clips=2),
    "whole blocks, no padding, no bias": Case((7, 5, 6), pads=(0,) * 6, channels=(16, 16), bias=False),
    "whole blocks, padding on one side": Case((5, 4, 5), pads=(2, 0, 1, 0, 1, 0), channels=(16, 16)),
    "whole blocks, a clip in chunks": Case((71, 3, 4), ("Relu",), channels=(16, 16), clips=2),
    "3x1x1 taps": Case((6, 5, 4), ("Relu",), kernel=(3, 1, 1), pads=(1, 0, 0) * 2, channels=(32, 16), clips=2),
    "3x1x1 taps, pool": Case((4, 6, 4), ("MaxPool",), kernel=(3, 1, 1), pads=(1, 0, 0) * 2, channels=(16, 16)),
    "channels in parts": Case((4, 6, 6), ("Relu",), channels=(512, 7), clips=2),
}


def drawn(case: Case) -> tuple[onnx.ModelProto, Floats, NDArray[np.float64]]:
    """Return a model, an input, and what torch makes of it in float64."""
    generator = np.random.default_rng(len(case.size) + sum(case.size))
    weight = generator.standard_normal((*case.channels[::-1], *case.kernel)).astype(np.float32)
    bias = generator.standard_normal(case.channels[1]).astype(np.float32)
    x = generator.standard_normal((case.clips, case.channels[0], *case.size)).astype(np.float32)
    axes = len(case.size)
    pads = case.pads or (1,) * (2 * axes)
    nodes = [helper.make_node("Conv", ["x", "w", "b"][: 2 + case.bias], ["c"], "conv", pads=pads)]
    for place, operator in enumerate(case.after):
        window: dict[str, Any] = {"kernel_shape": case.window, "strides": case.window} if operator == "MaxPool" else {}
        nodes.append(helper.make_node(operator, [nodes[-1].output[0]], [f"v{place}"], operator, **window))
    nodes[-1].output[0] = "y"
    weights = [numpy_helper.from_array(weight, "w"), *([numpy_helper.from_array(bias, "b")] if case.bias else [])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", case.channels[0], *case.size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", case.channels[1], *"thw"[-axes:]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=10)
    return model, x, expected(case, x, weight, bias)


def expected(case: Case, x: Floats, weight: Floats, bias: Floats) -> NDArray[np.float64]:
    axes = len(case.size)
    pads = case.pads or (1,) * (2 * axes)
    sides = [edge for axis in reversed(range(axes)) for edge in (pads[axis], pads[axis + axes])]
    convolve: Callable[..., Any] = F.conv3d if axes == 3 else F.conv2d
    pool: Callable[..., Any] = F.max_pool3d if axes == 3 else F.max_pool2d
    held = torch.from_numpy(bias).double() if case.bias else None
    y = convolve(F.pad(torch.from_numpy(x).double(), sides), torch.from_numpy(weight).double(), held)
    for operator in case.after:
        y = torch.relu(y) if operator == "Relu" else pool(y, case.window)
    return y.numpy()


def rewritten(model: onnx.ModelProto, tile_shape: TileShape, *, precomputed: bool = False) -> onnx.ModelProto | None:
    graph = ir.from_proto(model)
    infer_shapes(graph)
    match = match_conv(find_nodes(graph, "Conv")[0], (*KERNELS, TIME_KERNEL))
    assert isinstance(match, ConvMatch), match
    if not fits(match, tile_shape):
        return None
    replace_conv(graph, match, tile_shape, precomputed=precomputed)
    return ir.to_proto(graph)


def run(model: onnx.ModelProto, x: Floats) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


@pytest.mark.parametrize("tile_shape", TILE_SHAPES, ids=lambda tile_shape: tile_shape.title)
@pytest.mark.parametrize("name", CASES)
def test_a_form_keeps_the_function(name: str, tile_shape: TileShape) -> None:
    case = CASES[name]
    model, x, exact = drawn(case)
    made = rewritten(model, tile_shape)
    if made is None:
        single = case.kernel[0] == 1 or len(case.size) == 2
        blocks = all(channels % 16 == 0 for channels in case.channels)
        frames_only = case.kernel == (3, 1, 1)
        unfit = frames_only if tile_shape.space > 1 else not blocks
        assert (tile_shape.time > 1) == single or case.size[0] < 4 or unfit
        return
    onnx.checker.check_model(made, full_check=True)
    operators = [node.op_type for node in made.graph.node]
    assert "MaxPool" not in operators or tile_shape.space == 1
    actual = run(made, x)
    assert actual.shape == exact.shape
    assert np.abs(actual - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("tile_shape", [TileShape(4, 4), TileShape(2, 2)], ids=lambda tile_shape: tile_shape.title)
def test_transformed_weights_may_stand_in_the_file(tile_shape: TileShape) -> None:
    model, x, exact = drawn(CASES["odd everything"])
    made = rewritten(model, tile_shape, precomputed=True)
    assert made is not None
    assert "w" not in {tensor.name for tensor in made.graph.initializer}
    assert np.abs(run(made, x) - exact).max() <= 1e-5 * np.abs(exact).max()


def test_onnxruntime_transforms_the_weights_when_it_loads(tmp_path: Path) -> None:
    model, _, _ = drawn(CASES["whole tiles, ReLU and pool"])
    made = rewritten(model, TileShape(4, 4))
    assert made is not None
    assert "w" in {tensor.name for tensor in made.graph.initializer}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = {node.name for node in onnx.load(tmp_path / "loaded.onnx").graph.node}
    assert "conv.winograd.product" in names
    assert not {name for name in names if "weight" in name}


def test_few_rows_of_many_channels_are_summed_in_parts_and_round_less(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, exact = drawn(Case((2, 8, 8), channels=(1024, 16)))
    errors: list[float] = []
    for parts in (None, 1):
        if parts is not None:
            monkeypatch.setattr(Tiling, "parts", parts)
        made = rewritten(model, TileShape(2, 2))
        assert made is not None
        errors.append(float(np.sqrt(np.mean((run(made, x) - exact) ** 2))))
    assert errors[0] < 0.95 * errors[1]


@pytest.mark.parametrize(
    ("case", "products", "parts"),
    [
        (Case((10, 48, 44), ("Relu",), clips=2), 1, 3),
        (Case((8, 48, 44), ("Relu", "MaxPool")), 2 * 216 * 132 * 6, 1),
        (Case((12, 48, 44), ("Relu", "MaxPool")), 2 * 216 * 132 * 6, 2),
        (Case((9, 48, 44), pads=(2, 1, 1, 0, 1, 1)), 1, 3),
        (Case((72, 48, 44), channels=(1, 1)), 10 * 216 * 132, 3),
        (Case((8, 24, 20), ("Relu",)), 1, 1),
        (Case((4, 48, 44), kernel=(1, 3, 3), pads=(0, 1, 1) * 2), 1, 1),
    ],
    ids=["each tile", "both fit", "two of three fit", "one-sided padding", "a long clip", "merged", "1x3x3 taps"],
)
def test_products_that_are_too_large_are_computed_in_parts_of_time(
    case: Case, products: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "MAX_PRODUCT", products)
    model, x, exact = drawn(case)
    made = rewritten(model, TileShape(1 if case.kernel[0] == 1 else 4, 4))
    assert made is not None
    onnx.checker.check_model(made, full_check=True)
    assert len([node for node in made.graph.node if ".winograd.product" in node.name]) == parts
    assert np.abs(run(made, x) - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("same_shape", [True, False])
def test_constants_of_another_meaning_may_have_the_same_names(same_shape: bool) -> None:
    model, x, exact = drawn(CASES["whole tiles, ReLU and pool"])
    first = rewritten(model, TileShape(4, 4))
    assert first is not None
    made = {held.name: held for held in first.graph.initializer}
    model.graph.node.append(helper.make_node("Sum", list(made), ["unread"], "reads them"))
    for name in made.keys() - {"w", "b"}:
        values = numpy_helper.to_array(made[name])
        other = values + 1 if same_shape else np.ones((1,), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(other, name))
    again = rewritten(model, TileShape(4, 4))
    assert again is not None
    again.graph.node.remove(next(node for node in again.graph.node if node.op_type == "Sum"))
    assert np.abs(run(again, x) - exact).max() <= 1e-5 * np.abs(exact).max()


def test_a_pool_that_does_not_tile_stays_a_pool() -> None:
    case = Case((4, 8, 9), ("Relu", "MaxPool"))
    model, x, exact = drawn(case)
    made = rewritten(model, TileShape(4, 4))
    assert made is not None
    assert "MaxPool" in [node.op_type for node in made.graph.node]
    assert np.abs(run(made, x) - exact).max() <= 1e-5 * np.abs(exact).max()
