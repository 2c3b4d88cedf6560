"""Every variant of an int8 convolution gives the integers of its definition, which torch computes in float64 here."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from helpers.graphs import graph, node, normal, run_onnxruntime
from numpy.typing import NDArray
from torch.nn import functional as F

from exporter.passes.builder import Builder
from exporter.passes.conv_pattern import ConvMatch, match_volumes
from exporter.passes.graph import add_initializer, find_nodes, infer_shapes
from exporter.passes.quantize.conv_variant import (
    CONTRIB,
    CONV_VARIANTS,
    ConvNumbers,
    ConvVariant,
    emit,
)

SIZE = (5, 6, 7)
SCALES = {"x": 0.02, "y": 0.5}
X_ZERO, Y_ZERO = 3, 0


def make_match(
    conv: dict[str, Any], pool: dict[str, Any] | None = None, order: str = "relu pool", channels: int = 3
) -> ConvMatch:
    nodes = [node("Conv", "x w b", "c", **conv)]
    for step in order.split() if pool is not None else ["relu"]:
        inputs, attributes = nodes[-1].output[0], pool if step == "pool" and pool is not None else {}
        nodes.append(node("Relu" if step == "relu" else "MaxPool", inputs, step, **attributes))
    kernel = conv["kernel_shape"]
    weights = {"w": normal(8, channels, *kernel), "b": normal(8)}
    last = nodes[-1].output[0]
    made = graph(nodes, {"x": ("n", channels, *SIZE)}, {last: ("n", 8, "t", "h", "w")}, weights, 17)
    model = ir.from_proto(made)
    infer_shapes(model)
    match = match_volumes(find_nodes(model, "Conv")[0])
    assert match is not None
    return match


def run(
    match: ConvMatch, variant: ConvVariant, x: NDArray[Any], weight: NDArray[Any], scale: NDArray[Any]
) -> NDArray[Any]:
    """Return the result of the variant's operators, with channels last."""
    source = ir.Value(name="x", shape=ir.Shape(["n", *match.size, match.inputs]), type=ir.TensorType(ir.DataType.UINT8))
    model = ir.Model(ir.Graph([source], [], nodes=[], opset_imports={"": 17, CONTRIB: 1}, name="variant"), ir_version=8)
    pairs = [
        (
            add_initializer(model, f"{name}.scale", ir.tensor(np.array(number, np.float32))),
            add_initializer(model, f"{name}.zero", ir.tensor(np.array(zero, np.uint8))),
        )
        for (name, number), zero in zip(SCALES.items(), (X_ZERO, Y_ZERO), strict=True)
    ]
    builder = Builder(model, "variant")
    bias = np.arange(match.outputs, dtype=np.int32) * 100
    y = emit(builder, source, match, ConvNumbers(pairs[0], pairs[1], weight, scale, bias), variant)
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.UINT8), ir.Shape(["n", "t", "h", "w", match.outputs])
    model.graph.extend(builder.nodes)
    model.graph.outputs.append(y)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return run_onnxruntime(proto, {"x": x})["y"]


def pads(*sizes: int) -> list[int]:
    return [*sizes, *sizes]


@pytest.mark.parametrize("variant", CONV_VARIANTS, ids=str)
@pytest.mark.parametrize(
    ("conv", "pool"),
    [
        ({"kernel_shape": [3, 3, 3], "pads": pads(1, 1, 1)}, {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}),
        (
            {"kernel_shape": [3, 2, 3], "pads": [2, 0, 1, 1, 1, 0], "strides": [2, 1, 2]},
            {"kernel_shape": [2, 2, 1], "pads": [1, 0, 0, 0, 1, 0]},
        ),
        ({"kernel_shape": [2, 3, 3], "dilations": [2, 1, 2]}, None),
        ({"kernel_shape": [1, 1, 1]}, {"kernel_shape": [2, 2, 2], "dilations": [2, 1, 3]}),
        ({"kernel_shape": [1, 1, 1]}, None),
    ],
)
def test_every_form_computes_the_integers_of_the_definition(
    variant: ConvVariant, conv: dict[str, Any], pool: dict[str, Any] | None
) -> None:
    match = make_match(conv, pool)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    centred = generator.integers(-100, 100, (8, 3, *conv["kernel_shape"]), dtype=np.int8)
    scale = generator.uniform(0.005, 0.02, 8).astype(np.float32)
    found = run(match, variant, x, centred + np.int8(variant.zero_point), scale)

    volume = torch.from_numpy(x.astype(np.float64) - X_ZERO).permute(0, 4, 1, 2, 3)
    before, after = np.split(np.array(conv.get("pads", [0] * 6)), 2)
    padded = F.pad(volume, [int(size) for pair in zip(before[::-1], after[::-1], strict=True) for size in pair])
    steps = {"stride": conv.get("strides", [1, 1, 1]), "dilation": conv.get("dilations", [1, 1, 1])}
    sums = F.conv3d(padded, torch.from_numpy(centred).double(), torch.arange(8).double() * 100, **steps)
    real = sums * torch.from_numpy(SCALES["x"] * scale.astype(np.float64) / SCALES["y"]).reshape(-1, 1, 1, 1)
    if pool is not None:
        edges = pool.get("pads", [0] * 6)
        real = F.pad(real, [edges[2], edges[5], edges[1], edges[4], edges[0], edges[3]], value=-torch.inf)
        steps = {"stride": pool.get("strides", [1, 1, 1]), "dilation": pool.get("dilations", [1, 1, 1])}
        real = F.max_pool3d(real, pool["kernel_shape"], **steps)
    expected = real.permute(0, 2, 3, 4, 1).numpy()
    # the product of scales is float32 there: a value half way between two levels may go to either
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-4


def test_relu_and_pool_are_taken_in_either_order():
    conv = {"kernel_shape": [3, 3, 3]}
    pool = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
    for order in ("relu pool", "pool relu"):
        match = make_match(conv, pool, order)
        assert [made.op_type for made in match.nodes[1:]] == [
            "Relu" if step == "relu" else "MaxPool" for step in order.split()
        ]
        assert match.has_relu


def test_a_pool_that_rounds_up_stays_outside():
    pool = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2], "ceil_mode": 1}
    for order, expected in (("relu pool", ["Conv", "Relu"]), ("pool relu", ["Conv"])):
        match = make_match({"kernel_shape": [3, 3, 3]}, pool, order)
        assert [made.op_type for made in match.nodes] == expected
        assert match.pool is None
