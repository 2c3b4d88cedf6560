"""A first layer of few channels becomes a 2-D convolution; other layers stay."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite

from exporter.passes.base import run_passes
from exporter.passes.cancel_transposes import FRAMES, CancelTransposes
from exporter.passes.conv3d_as_conv2d import CONV2D, DIRECT, Conv3dAsConv2d, conv2d_ms, direct_ms, measure
from exporter.passes.conv_pattern import ConvMatch, match_conv2d
from exporter.passes.graph import find_nodes, infer_shapes
from exporter.passes.pipelines import build_passes
from exporter.passes.winograd.rewrite import Winograd
from exporter.timing import RoundOptions
from exporter.types import OptimizeOptions

POOL = {"kernel_shape": [1, 2, 2], "strides": [1, 2, 2]}


def stem(
    channels: int = 3,
    kernel: tuple[int, int, int] = (3, 3, 3),
    order: tuple[str, ...] = ("Relu", "MaxPool"),
    conv: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
    opset: int = 18,
    after: str = "",
    frames: int = 5,
    outputs: int = 6,
) -> onnx.ModelProto:
    """A convolution with what follows it."""
    held = {"w": normal(outputs, channels, *kernel), "b": normal(outputs)}
    nodes = [node("Conv", "x w b", "c", **({"pads": [1] * 6} if conv is None else conv))]
    for operator in order:
        nodes.append(
            node(operator, nodes[-1].output[0], operator.lower(), **(pool or POOL if operator == "MaxPool" else {}))
        )
    if after:
        nodes.append(node("Transpose", nodes[-1].output[0], "t", perm=[0, 2, 3, 4, 1]))
    nodes.append(node("Neg", nodes[-1].output[0], "y"))
    return graph(nodes, {"x": ("n", channels, frames, 10, 12)}, {"y": ("n", *"abcd")}, held, opset)


FEEDS = {"x": normal(2, 3, 5, 10, 12)}


@pytest.mark.parametrize(
    ("model", "channels"),
    [
        (stem(), 3),
        (stem(order=("MaxPool", "Relu")), 3),
        (stem(order=("MaxPool",), opset=13), 3),
        (stem(1, (5, 3, 3), conv={"strides": [2, 1, 2], "pads": [2, 1, 0, 1, 2, 1]}), 1),
        (stem(2, (3, 2, 3), conv={"dilations": [2, 1, 2], "auto_pad": "VALID"}), 2),
        (stem(3, (1, 3, 3), conv={}, pool={"kernel_shape": [1, 3, 3], "strides": [1, 2, 2], "pads": [0, 1, 1] * 2}), 3),
        (stem(after="Transpose"), 3),
    ],
)
def test_a_stem_becomes_a_2d_convolution(model: onnx.ModelProto, channels: int, tmp_path: Path) -> None:
    done = check_pass(Conv3dAsConv2d(), model, {"x": normal(2, channels, 5, 10, 12)}, tmp_path, 1e-5)
    assert done.modified
    conv2d = next(made for made in done.model.graph.node if made.op_type == "Conv")
    assert len(onnx.helper.get_node_attr_value(conv2d, "kernel_shape")) == 2
    assert np.array_equal(done.weight("w"), onnx.numpy_helper.to_array(model.graph.initializer[0]))  # as trained


@pytest.mark.parametrize(
    ("model", "operators"),
    [
        (stem(order=("Relu",)), ["Conv", "Relu", "Neg"]),
        (stem(order=(), conv={"strides": [2, 2, 2], "pads": [1] * 6}), ["Conv", "Neg"]),
        (stem(pool={"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}), ["Conv", "Relu", "MaxPool", "MaxPool", "Neg"]),
        (
            stem(pool={"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "pads": [1] * 6}, after="Transpose"),
            ["Conv", "Relu", "MaxPool", "MaxPool", "Neg"],
        ),
        (
            stem(order=("MaxPool", "Relu"), pool={"kernel_shape": [2, 1, 1], "dilations": [2, 1, 1], "pads": [0] * 6}),
            ["Conv", "MaxPool", "Relu", "MaxPool", "Neg"],
        ),
        (stem(pool={**POOL, "ceil_mode": 1}), ["Conv", "Relu", "MaxPool", "Neg"]),
        (stem(kernel=(1, 3, 3), conv={"pads": [0, 1, 1] * 2}, frames=5, order=("Relu",)), ["Conv", "Relu", "Neg"]),
    ],
)
def test_another_layer_becomes_one_where_it_is_predicted_faster(
    model: onnx.ModelProto, operators: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.passes.conv3d_as_conv2d.conv2d_ms", lambda _match: 0.0)
    done = check_pass(Conv3dAsConv2d(), model, FEEDS, tmp_path, 1e-5)
    layout = ("Transpose", "Reshape", "MatMul")
    assert [operator for operator in done.operators if operator not in layout] == operators
    assert [row.action for row in done.step.decisions] == [CONV2D]
    monkeypatch.setattr("exporter.passes.conv3d_as_conv2d.conv2d_ms", lambda _match: 1e9)
    assert not rewrite(Conv3dAsConv2d(), stem(order=("Relu",))).modified


@pytest.mark.parametrize(
    "model",
    [
        stem(6),  # 18 channels of images, which do not fill blocks
        stem(conv={"auto_pad": "SAME_UPPER"}),
        stem(frames=65),
    ],
)
def test_anything_else_stays(model: onnx.ModelProto) -> None:
    assert not rewrite(Conv3dAsConv2d(), model).modified


@pytest.mark.parametrize(("channels", "in_2d"), [(12, False), (16, True), (24, False), (32, True)])
def test_channels_that_do_not_fill_the_blocked_layout_stay(channels: int, in_2d: bool) -> None:
    """The blocked layout computes 16 channels where there are 12, and 48 of the 36 that the frames give."""
    conv = node("Conv", "x w", "y", pads=[1] * 6)
    held = {"w": normal(channels, channels, 3, 3, 3)}
    model = graph([conv], {"x": ("n", channels, 16, 16, 16)}, {"y": ("n", *"abcd")}, held)
    assert rewrite(Conv3dAsConv2d(), model).modified == in_2d


def wide(*nodes: onnx.NodeProto, shape: tuple[int | str, ...]) -> ConvMatch:
    """A strided convolution of 64 channels, as a stage of a residual network begins with, between other nodes."""
    conv = node("Conv", "a w", "c", pads=[1] * 6, strides=[2] * 3)
    following = node("Transpose", "c", "y", perm=FRAMES)
    model = graph([*nodes, conv, following], {"x": shape}, {"y": None}, {"w": normal(64, 64, 3, 3, 3)})
    loaded = ir.from_proto(model)
    infer_shapes(loaded)
    match = match_conv2d(find_nodes(loaded, "Conv")[0])
    assert match is not None
    return match


def test_transposes_that_neighbours_undo_are_not_counted() -> None:
    alone = wide(node("Relu", "x", "a"), shape=("n", 64, 8, 14, 14))
    before = (node("Transpose", "x", "t", perm=FRAMES), node("Relu", "t", "a"))
    between = wide(*before, shape=("n", 8, 64, 14, 14))
    assert (alone.given_frames_first, between.given_frames_first) == (False, True)
    assert alone.wanted_frames_first
    numbers = 64 * 8 * 14 * 14
    saved = 1e3 * 2 * 4 * numbers / 20e9
    assert conv2d_ms(alone) - conv2d_ms(between) == pytest.approx(saved)
    assert direct_ms(between) - direct_ms(alone) == pytest.approx(saved)


def test_a_layer_between_rewritten_ones_is_measured_in_their_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.passes.conv3d_as_conv2d.conv2d_ms", lambda _match: 0.0)
    seen: list[tuple[list[str], list[str]]] = []

    def compare(direct: ir.Model, conv2d: ir.Model) -> dict[str, float]:
        seen.append(([made.op_type for made in direct.graph], [made.op_type for made in conv2d.graph]))
        return {DIRECT: 2.0, CONV2D: 1.0}

    nodes = [
        node("Transpose", "x", "a", perm=FRAMES),
        node("Conv", "a w", "c", pads=[1] * 6),
        node("Transpose", "c", "y", perm=FRAMES),
    ]
    model = graph(nodes, {"x": ("n", 5, 16, 6, 6)}, {"y": ("n", *"abcd")}, {"w": normal(16, 16, 3, 3, 3)})
    assert rewrite(Conv3dAsConv2d(compare), model).modified
    direct, conv2d = seen[0]
    assert direct == ["Transpose", "Conv", "Transpose"]
    assert conv2d.count("Transpose") == 1  # of the weights


def test_a_pool_inside_a_branch_is_none_of_the_stems() -> None:
    branches = {
        name: onnx.helper.make_graph(
            [node(operator, "c", f"{name}.out", **(POOL if operator == "MaxPool" else {}))],
            name,
            [],
            [onnx.helper.make_tensor_value_info(f"{name}.out", onnx.TensorProto.FLOAT, None)],
        )
        for name, operator in (("then_branch", "MaxPool"), ("else_branch", "Neg"))
    }
    del branches["else_branch"].node[:]
    branches["else_branch"].node.append(node("Constant", "", "else_branch.out", value_float=1.0))
    nodes = [node("Conv", "x w", "c", pads=[1] * 6), node("If", "flag", "y", **branches)]
    held = {"w": normal(6, 3, 3, 3, 3), "flag": np.array(True)}
    model = graph(nodes, {"x": ("n", 3, 5, 10, 12)}, {"y": None}, held)
    loaded = ir.from_proto(model)
    assert not run_passes(loaded, [Conv3dAsConv2d()]).modified


def test_what_an_earlier_pass_said_of_the_stem_is_replaced() -> None:
    done = run_passes(ir.from_proto(stem()), [Winograd(), Conv3dAsConv2d()])
    assert [(row.node, row.action) for row in done.decisions] == [("c.node", CONV2D)]


def test_the_whole_recipe_finds_nothing_more_in_its_own_result() -> None:
    wide = stem(3, (3, 7, 7), conv={"pads": [1, 3, 3] * 2}, outputs=16)  # 7056 weights, more than are folded
    loaded = ir.from_proto(wide)
    assert run_passes(loaded, build_passes(OptimizeOptions("cpu"))).modified
    assert not run_passes(loaded, build_passes(OptimizeOptions("cpu"))).modified


def test_no_transpose_is_left_where_channels_are_wanted_last() -> None:
    loaded = ir.from_proto(stem(after="Transpose"))
    assert run_passes(loaded, [Conv3dAsConv2d(), CancelTransposes()]).modified
    left = [list(made.attributes.get_ints("perm") or ()) for made in loaded.graph if made.op_type == "Transpose"]
    # frames to the front, the weights likewise; the images' channels to the end
    assert left == [[0, 2, 1, 3, 4], [0, 2, 1, 3], [0, 2, 3, 1]]


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({DIRECT: 5.0, CONV2D: 4.9}, DIRECT),
        ({DIRECT: 5.0, CONV2D: 3.0}, CONV2D),
        ({CONV2D: 3.0}, DIRECT),
    ],
)
def test_what_measured_slower_is_not_taken(times: dict[str, float], chosen: str) -> None:
    done = rewrite(Conv3dAsConv2d(lambda _direct, _conv2d: times), stem(after="Transpose"))
    assert done.modified == (chosen == CONV2D)
    (decision,) = done.step.decisions
    assert decision.action == chosen
    assert "measured" in decision.reason


def test_both_forms_are_measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.passes.autotune.ROUNDS", RoundOptions(1, 2))
    seen: list[dict[str, float]] = []
    loaded = ir.from_proto(stem())
    run_passes(loaded, [Conv3dAsConv2d(lambda direct, conv2d: seen.append(measure(direct, conv2d)) or seen[-1])])
    (times,) = seen
    assert times.keys() == {DIRECT, CONV2D}
    assert all(np.isfinite(ms) and ms > 0 for ms in times.values())
