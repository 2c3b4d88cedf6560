"""Every plan computes what the Q/DQ graph defines; the fastest one is found by measurement."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal, run_float64, run_onnxruntime

from exporter.engines.base import RuntimeOptions
from exporter.engines.onnx_reference import FloatGraph
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.onnx_io.writer import temporary_file
from exporter.passes import autotune
from exporter.passes.graph import infer_shapes
from exporter.passes.quantize.conv_variant import CONTRIB, CONV_VARIANTS, ConvVariant
from exporter.passes.quantize.plans import PORTABLE, UNSIGNED, Plan, fastest_plan, find_activations
from exporter.passes.quantize.ranges import MIN_MAX, measure_ranges

CLIP = (3, 4, 8, 8)
CONV: dict[str, Any] = {"kernel_shape": [3, 3, 3], "pads": [1] * 6}
POOL: dict[str, Any] = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}


def network() -> onnx.ModelProto:
    """A convolution read twice, a sum, one that is an output, and two linear layers behind a Flatten."""
    weights = {
        "w1": normal(8, 3, 3, 3, 3) / 6,
        "b1": normal(8) / 4,
        "w2": normal(8, 8, 3, 3, 3) / 10,
        "b2": normal(8) / 4,
        "w3": normal(4, 8, 3, 3, 3) / 10,
        "w4": normal(16, 4 * 2 * 4 * 4) / 10,
        "b4": normal(16),
        "w5": normal(16, 5) / 4,
    }
    nodes = [
        node("Conv", "x w1 b1", "c1", **CONV),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", **CONV),
        node("Add", "c2 r1", "sum"),
        node("Relu", "sum", "r2"),
        node("Conv", "r2 w3", "c3", **CONV),
        node("MaxPool", "c3", "features", **POOL),
        node("Flatten", "features", "flat"),
        node("Gemm", "flat w4 b4", "g4", transB=1),
        node("Relu", "g4", "r4"),
        node("MatMul", "r4 w5", "scores"),
    ]
    outputs = {"features": ("n", 4, 2, 4, 4), "scores": ("n", 5)}
    return graph(nodes, {"x": ("n", *CLIP)}, outputs, weights, 17)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    made = ir.from_proto(network())
    infer_shapes(made)
    return made


@pytest.fixture(scope="module")
def ranges(model: ir.Model) -> Mapping[str, tuple[float, float]]:
    with pytest.MonkeyPatch.context() as patch, temporary_file(model) as path:
        patch.setattr("exporter.passes.quantize.ranges.BINS", 256)
        return measure_ranges(path, find_activations(model), normal(2, *CLIP, seed=1))[MIN_MAX]


def snr_db(values: Any, exact: Any) -> float:
    return 10 * np.log10(np.square(exact).sum() / np.square(values - exact).sum())


@pytest.mark.parametrize("variant", CONV_VARIANTS, ids=str)
def test_the_operators_compute_the_quantised_network(
    variant: ConvVariant, model: ir.Model, ranges: Mapping[str, tuple[float, float]], tmp_path: Path
) -> None:
    names = ["c1.node", "c2.node", "c3.node"]
    plan = Plan("QLinearConv", "uint8", quantize_bias=True, variants=dict.fromkeys(names, variant))
    done = plan.apply(model, ranges)
    proto = ir.to_proto(done.model)
    operators = [(made.domain, made.op_type) for made in proto.graph.node]
    assert operators.count((CONTRIB, "QLinearConv")) == 3
    assert operators.count((CONTRIB, "NhwcMaxPool")) == 1
    assert ("", "Conv") not in operators
    actions = {row.node: row.action for row in done.decisions if row.operator == "Conv"}
    assert actions == dict.fromkeys(names, str(variant))
    x = normal(2, *CLIP, seed=1)
    found, exact = run_onnxruntime(proto, {"x": x}), run_float64(network(), {"x": x}, tmp_path)
    for name, values in exact.items():
        assert found[name].shape == values.shape
        assert snr_db(found[name], values) > 28, name


CONVS = ("c1.node", "c2.node", "c3.node")
OPERATORS = Plan("QLinearConv", "uint8", quantize_bias=True, variants=dict(zip(CONVS, CONV_VARIANTS[1:], strict=True)))


@pytest.mark.parametrize("plan", [PORTABLE, UNSIGNED, OPERATORS], ids=lambda plan: plan.name)
def test_float64_evaluates_what_onnxruntime_computes(
    plan: Plan, model: ir.Model, ranges: Mapping[str, tuple[float, float]]
) -> None:
    quantized = plan.apply(model, ranges).model
    x = normal(2, *CLIP, seed=1)
    with (
        temporary_file(quantized) as path,
        FloatGraph(path, RuntimeOptions()) as reference,
        OnnxRuntime(path, RuntimeOptions()) as runtime,
    ):
        exact, found = reference.run({"x": x}), runtime.run({"x": x})
        assert not reference.notes  # nothing was left to float32
    for name, values in exact.items():
        assert values.dtype == np.float64
        # they round to different levels where a value is half way between two
        assert snr_db(found[name], values) > 45, name


def test_raised_layers_stay_in_float32(model: ir.Model, ranges: Mapping[str, tuple[float, float]]) -> None:
    variants = dict.fromkeys(["c1.node", "c2.node", "c3.node"], CONV_VARIANTS[0])
    plan = Plan("QLinearConv", "uint8", quantize_bias=True, variants=variants)
    proto = ir.to_proto(plan.apply(model, ranges, frozenset({"c2.node", "g4.node"})).model)
    kept = {made.name: made for made in proto.graph.node if made.op_type in ("Conv", "Gemm")}
    held = {value.name: value.data_type for value in proto.graph.initializer}
    assert kept.keys() == {"c2.node", "g4.node"}
    assert held["w2"] == held["w4"] == onnx.TensorProto.FLOAT
    assert held["w1"] == onnx.TensorProto.INT8


def test_the_fastest_plan_and_forms_are_taken(
    model: ir.Model, ranges: Mapping[str, tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = CONV_VARIANTS[3]

    def measure(variants: Mapping[str, onnx.ModelProto], *_: object) -> dict[str, float]:
        return {name: 1.0 if name in (str(wanted), "QLinearConv") else 2.0 for name in variants}

    monkeypatch.setattr(autotune, "_measure", measure)
    plan, times = fastest_plan(model, ranges)
    assert plan.name == "QLinearConv"
    assert plan.variants == dict.fromkeys(["c1.node", "c2.node", "c3.node"], wanted)
    assert times == {"symmetric Q/DQ": 2, "Q/DQ": 2, "QLinearConv, 3-D": 2, "QLinearConv": 1}
    rows = plan.apply(model, ranges).decisions
    assert {row.measured_ms for row in rows if row.operator == "Conv"} == {1.0}


def test_a_network_without_3d_convolutions_has_no_forms_to_measure() -> None:
    weights = {"w": normal(16, 8)}
    made = ir.from_proto(graph([node("MatMul", "x w", "y")], {"x": ("n", 16)}, {"y": ("n", 8)}, weights, 17))
    plan, times = fastest_plan(made, {"x": (-3.0, 3.0)})
    assert plan.name in times
    assert times.keys() == {"symmetric Q/DQ", "Q/DQ"}
