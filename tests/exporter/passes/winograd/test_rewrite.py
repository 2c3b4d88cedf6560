"""The choice: C3D's layers take the forms that were measured to be good, and nothing slower than direct is taken."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal, run_float64, run_onnxruntime

from exporter.passes.autotune import Measurements
from exporter.passes.base import Decision, run_passes
from exporter.passes.compress_weights import CompressWeights
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, infer_shapes
from exporter.passes.winograd.cost import direct_ms, predict_ms
from exporter.passes.winograd.measure import make_candidate, measure_tile_shapes
from exporter.passes.winograd.pattern import match_conv
from exporter.passes.winograd.rewrite import Winograd, WinogradTime
from exporter.passes.winograd.tile_shape import DIRECT, TILE_SHAPES, TileShape
from exporter.passes.winograd.tiling import fits
from exporter.requests import OptimizeRequest
from exporter.timing import RoundOptions
from exporter.types import OptimizeOptions, WeightDtype
from exporter.workflows.optimize import optimize

CUBE = {"kernel_shape": [3] * 3, "pads": [1] * 6}


def tower(channels: int = 96, size: int = 16, opset: int = 28) -> onnx.ModelProto:
    """A block of R3D (Tran et al., 2018): two convolutions and the shortcut, between a stem and a head."""
    held = {
        "stem": normal(channels, 3, 3, 7, 7) / 20,
        "w1": normal(channels, channels, 3, 3, 3) / 40,
        "w2": normal(channels, channels, 3, 3, 3) / 40,
        "b1": normal(channels),
        "b2": normal(channels),
        "head": normal(channels, 5),
    }
    nodes = [
        node("Conv", "x stem", "a", strides=[1, 2, 2], pads=[1, 3, 3] * 2),
        node("Relu", "a", "s"),
        node("Conv", "s w1 b1", "c1", **CUBE),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", **CUBE),
        node("Add", "c2 s", "sum"),
        node("Relu", "sum", "r2"),
        node("GlobalAveragePool", "r2", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f head", "y"),
    ]
    return graph(nodes, {"x": ("n", 3, 8, 2 * size, 2 * size)}, {"y": ("n", 5)}, held, opset)


def _decided(model: onnx.ModelProto, step: Winograd) -> list[Decision]:
    loaded = ir.from_proto(model)
    infer_shapes(loaded)
    step(loaded)
    return step.decisions


def choices(model: onnx.ModelProto, step: Winograd) -> dict[str, str]:
    return {decision.node: decision.action for decision in _decided(model, step)}


def multiplications(path: Path) -> int:
    """Products of Conv and MatMul for one clip, by the shapes that onnx infers."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output, *model.graph.input)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    held = {tensor.name for tensor in model.graph.initializer}
    total = 0
    for made in model.graph.node:
        if made.op_type == "Conv" and not made.name.endswith(".weight"):
            total += int(np.prod(shapes[made.output[0]]) * np.prod(shapes[made.input[1]][1:]))
        if made.op_type == "MatMul":
            left, right = made.input
            shared = shapes[left][-1] if left in held or len(shapes[left]) > 1 else 1
            total += int(np.prod(shapes[made.output[0]]) * shared)
            assert shapes[right]
    return total


def test_another_network_takes_a_fraction_of_the_multiplications(tmp_path: Path) -> None:
    path = tmp_path / "r3d.onnx"
    onnx.save(network := tower(channels=64, size=12), path)
    done = optimize(OptimizeRequest(path, measure=False))
    assert done.modified
    assert done.report is not None
    assert done.report.passed
    chosen = {decision.node: decision.action for decision in done.decisions if decision.operator == "Conv"}
    assert chosen["a.node"] == "conv2d"
    assert all(chosen[name].startswith("winograd") for name in ("c1.node", "c2.node"))
    assert multiplications(done.path) < 0.5 * multiplications(path)
    x = normal(2, 3, 8, 24, 24)
    (golden,), (actual,) = (
        run_float64(network, {"x": x}, tmp_path).values(),
        run_onnxruntime(onnx.load(done.path), {"x": x}).values(),
    )
    assert np.abs(actual - golden).max() <= 2e-5 * np.abs(golden).max()


@pytest.mark.parametrize(
    ("accurate", "actions", "noted"),
    [(2, {"conv2d", "winograd 2x1x1"}, "tiles of 2"), (1, {"conv2d"}, "left out")],
)
def test_smaller_tiles_and_then_none_are_taken_where_larger_ones_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accurate: int, actions: set[str], noted: str
) -> None:
    path = tmp_path / "r3d.onnx"
    onnx.save(tower(channels=64, size=12), path)
    plain = Winograd.rewrite

    def careless(self: Winograd, model: ir.Model) -> bool:
        done = plain(self, model)
        if any(max(shape.time, shape.space) > accurate for shape in self.tile_shapes):
            weight = model.graph.initializers["head"]
            assert weight.const_value is not None
            weight.const_value = ir.tensor(weight.const_value.numpy() * 1.01, name="head")
        return done

    monkeypatch.setattr(Winograd, "rewrite", careless)
    done = optimize(OptimizeRequest(path, measure=False))
    assert done.report is not None
    assert done.report.passed
    assert noted in done.notes[-1]
    assert {d.action for d in done.decisions if d.operator == "Conv"} == actions


def test_what_is_small_or_cannot_be_stays_as_it_is() -> None:
    assert choices(tower(channels=4, size=4), Winograd()) == dict.fromkeys(("a.node", "c1.node", "c2.node"), DIRECT)
    step = Winograd()
    assert set(choices(tower(opset=12), step).values()) == {DIRECT}
    assert {decision.reason for decision in step.decisions} == {"its opset is older than 13"}


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "chosen"),
    [  # the fastest of benchmarks/results/optimize.md, on an Intel Xeon and, but for the first, on an AMD EPYC
        (64, 64, (16, 56, 56), "winograd 4x1x1"),
        (128, 128, (8, 28, 28), "winograd 4x4x4"),
        (128, 128, (16, 16, 16), "winograd 4x4x4"),
        (32, 32, (64, 64, 64), "winograd 4x1x1"),
        (256, 512, (4, 14, 14), "winograd 4x1x1"),
    ],
)
def test_layers_take_what_measured_fastest(
    channels: int, outputs: int, size: tuple[int, int, int], chosen: str
) -> None:
    weights = {"w": np.zeros((outputs, channels, 3, 3, 3), np.float32)}
    layer = [node("Conv", "x w", "y", **CUBE)]
    model = graph(layer, {"x": ("n", channels, *size)}, {"y": ("n", outputs, *size)}, weights)
    assert set(choices(model, Winograd()).values()) == {chosen}


def test_the_largest_tile_can_be_limited() -> None:
    assert choices(tower(channels=128), Winograd(max_tile=2))["c1.node"] == "winograd 2x1x1"


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"direct": 5.0, "winograd 4x4x4": 4.9, "winograd 2x4x4": 6.0}, DIRECT),  # within the noise
        ({"direct": 5.0, "winograd 4x4x4": 9.0, "winograd 2x4x4": 3.0}, "winograd 2x4x4"),
        (
            {"direct": 5.0, "winograd 4x4x4": 3.0, "winograd 2x4x4": 3.1},
            "winograd 2x4x4",
        ),  # nearly as fast, more accurate
        ({"direct": 5.0, "winograd 4x4x4": 3.0, "winograd 2x4x4": 3.2}, "winograd 4x4x4"),
        ({"direct": 5.0, "winograd 4x4x4": 4.6, "winograd 2x4x4": 4.95}, "winograd 4x4x4"),  # that one gains nothing
        ({"winograd 4x4x4": 1.0}, DIRECT),  # nothing is known of direct
    ],
)
def test_what_measured_slower_than_direct_is_never_taken(times: dict[str, float], chosen: str) -> None:
    step = Winograd(
        measure=lambda _site, tile_shapes, _opset: {title: ms for title, ms in times.items() if title in tile_shapes}
    )
    assert choices(tower(), step)["c1.node"] == chosen
    reported = next(decision.reason for decision in step.decisions if decision.node == "c1.node")
    assert ("measured" if DIRECT in times else "was not measured") in reported


def test_a_file_is_tuned_and_its_layers_errors_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.passes.autotune.ROUNDS", RoundOptions(1, 2))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # weights are found from anywhere
    path = tmp_path / "r3d.onnx"
    onnx.save(tower(), path, save_as_external_data=True, location="r3d.bin", size_threshold=64)
    done = optimize(
        OptimizeRequest(
            path, optimize=OptimizeOptions("cpu", autotune=True, measure_errors=True), verify=False, measure=False
        )
    )
    rows = {decision.node: decision for decision in done.decisions}
    assert all("measured: " in rows[name].reason and " ms" in rows[name].reason for name in ("c1.node", "c2.node"))
    for row in rows.values():
        if row.action.startswith("winograd"):
            assert row.measured_ms is not None
            assert row.error is not None
            assert 1e-8 < row.error < 1e-4
    # which further forms are measured depends on what was the fastest for the layer before
    assert len([*(tmp_path / "cache" / "c3d-export" / "tuning").iterdir()]) >= 3


def match() -> ConvMatch:
    loaded = ir.from_proto(tower(8, 8))
    infer_shapes(loaded)
    found = match_conv(find_nodes(loaded, "Conv")[1])
    assert isinstance(found, ConvMatch)
    return found


@pytest.mark.parametrize(
    "tile_shape",
    [None, *(tile_shape for tile_shape in TILE_SHAPES if fits(match(), tile_shape))],
    ids=lambda tile_shape: tile_shape.title if tile_shape else DIRECT,
)
def test_a_candidate_computes_what_the_convolution_did_in_its_model(tile_shape: TileShape | None) -> None:
    x = normal(1, 8, 8, 8, 8)
    (direct,) = run_onnxruntime(ir.to_proto(make_candidate(match(), None, 28)), {"x": x}).values()
    (actual,) = run_onnxruntime(ir.to_proto(make_candidate(match(), tile_shape, 28)), {"x": x}).values()
    assert np.abs(actual - direct).max() <= 1e-5 * np.abs(direct).max()


def test_measuring_runs_every_form_and_keeps_the_answer(tmp_path: Path) -> None:
    tile_shapes = {DIRECT: None, "winograd 2x2x2": TileShape(2, 2)}
    first = measure_tile_shapes(match(), tile_shapes, 28, cache=Measurements(tmp_path))
    assert first.keys() == tile_shapes.keys()
    assert all(ms > 0 for ms in first.values())
    assert measure_tile_shapes(match(), tile_shapes, 28, cache=Measurements(tmp_path)) == first


def test_the_direct_cost_is_the_arithmetic_and_the_bytes() -> None:
    times = predict_ms(match())
    assert times[DIRECT] == direct_ms(match())
    products = 8 * 8 * 27 * 8 * 8 * 8
    numbers = 8 * 8**3 + 8 * 8**3 + 2 * 8 * 8 * 27  # each of two cores reads all weights
    copied = 8 * 27 * 8 * 8 * 8  # the taps of each output
    assert times[DIRECT] == pytest.approx(1e3 * (2 * products / (1.13 * 230e9) + 4 * (numbers + copied) / 20e9))


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_stored_in_fewer_bits_the_matrices_stay_exact(kind: WeightDtype) -> None:
    loaded = ir.from_proto(tower())
    done = run_passes(loaded, [Winograd(), CompressWeights(kind)])
    assert done.modified
    fixed = [value for name, value in loaded.graph.initializers.items() if name.startswith("winograd.weight.")]
    assert fixed
    assert {value.dtype for value in fixed} == {ir.DataType.FLOAT}


@pytest.mark.filterwarnings("error")
def test_a_bias_that_is_not_constant_can_be_measured_and_held_against_float64(tmp_path: Path) -> None:
    model = tower()
    model.graph.input.append(onnx.helper.make_tensor_value_info("b1", onnx.TensorProto.FLOAT, [96]))
    model.graph.initializer.remove(next(held for held in model.graph.initializer if held.name == "b1"))
    rows = {row.node: row for row in _decided(model, Winograd(measure_errors=True))}
    assert rows["c1.node"].error is not None
    assert 1e-8 < rows["c1.node"].error < 1e-4
    loaded = ir.from_proto(model)
    infer_shapes(loaded)
    found = match_conv(find_nodes(loaded, "Conv")[1])
    assert isinstance(found, ConvMatch)
    assert measure_tile_shapes(found, {DIRECT: None}, 28, cache=Measurements(tmp_path)).keys() == {DIRECT}


def test_a_second_run_changes_nothing() -> None:
    loaded = ir.from_proto(tower())
    assert run_passes(loaded, [Winograd()]).modified
    again = Winograd()
    before = [(made.name, made.op_type) for made in loaded.graph]
    assert not run_passes(loaded, [again]).modified
    assert [(made.name, made.op_type) for made in loaded.graph] == before


def factorized(*, frames_first: bool) -> onnx.ModelProto:
    """The second half of a factorised convolution, between layers with frames first or between others."""
    sides = [node("Relu", "x", "a"), node("Relu", "c", "y")]
    shape = ("n", 144, 16, 56, 56)
    if frames_first:
        sides = [node("Transpose", *names, perm=[0, 2, 1, 3, 4]) for names in (("x", "a"), ("c", "y"))]
        shape = ("n", 16, 144, 56, 56)
    conv = node("Conv", "a w", "c", pads=[1, 0, 0] * 2)
    return graph([sides[0], conv, sides[1]], {"x": shape}, {"y": ("n", *"abcd")}, {"w": normal(64, 144, 3, 1, 1)})


def test_a_kernel_of_frames_alone_is_taken_between_layers_with_frames_first() -> None:
    step = WinogradTime()
    assert choices(factorized(frames_first=True), step) == {"c.node": "winograd 4x1x1"}
    assert choices(factorized(frames_first=False), step) == {"c.node": DIRECT}
    assert choices(tower(), step) == {}
    assert choices(factorized(frames_first=True), Winograd())["c.node"] == DIRECT
