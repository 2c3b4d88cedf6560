"""A transposed convolution whose frames do not overlap is computed frame by frame; others stay."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite

from exporter.passes.base import run_passes
from exporter.passes.cancel_transposes import FRAMES
from exporter.passes.conv_transpose_as_2d import ConvTransposeAs2d
from exporter.passes.pipelines import build_passes
from exporter.types import OptimizeOptions

FEEDS = {"x": normal(2, 4, 3, 8, 16)}


def doubling(
    kernel: tuple[int, ...] = (2, 2, 2), bias: bool = True, rows: int | str = 8, group: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """A transposed convolution of 4 to 5 channels and its ReLU."""
    held = {"w": normal(4, 5, *kernel)} | ({"b": normal(5 * group)} if bias else {})
    window = {"strides": [2, 2, 2], "group": group} | attributes
    nodes = [node("ConvTranspose", "x w b" if bias else "x w", "c", **window), node("Relu", "c", "y")]
    return graph(nodes, {"x": ("n", 4, 3, rows, 16)}, {"y": ("n", *"abcd")}, held)


def stating(*sizes: int | str) -> onnx.ModelProto:
    """The same network with these sizes stated of the transposed convolution's output."""
    made = doubling()
    made.graph.value_info.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, ["n", 5, *sizes]))
    return made


@pytest.mark.parametrize(
    "model",
    [
        doubling(),
        doubling(bias=False),
        doubling((2, 3, 4), pads=[0, 1, 0, 0, 1, 2], output_padding=[0, 1, 0]),
        doubling((1, 2, 3), strides=[1, 2, 3], dilations=[1, 2, 1]),
        stating("t", "h", "w"),
        doubling((3, 2, 1), strides=[3, 1, 2], output_padding=[0, 0, 1]),
    ],
)
def test_frames_that_do_not_overlap_are_computed_one_by_one(model: onnx.ModelProto, tmp_path: Path) -> None:
    done = check_pass(ConvTransposeAs2d(), model, FEEDS, tmp_path, 1e-6)
    assert done.modified
    made = next(made for made in done.model.graph.node if made.op_type == "ConvTranspose")
    assert len(onnx.helper.get_node_attr_value(made, "kernel_shape")) == 2
    assert np.array_equal(done.weight("w"), onnx.numpy_helper.to_array(model.graph.initializer[0]))  # as trained


def test_a_size_that_the_file_states_wrongly_is_not_taken(tmp_path: Path) -> None:
    """onnxruntime computes its own sizes, so such files run."""
    before = stating(6, 15, 31)
    model = ir.from_proto(before)
    assert run_passes(model, [ConvTransposeAs2d()])
    after = ir.to_proto(model)
    results: list[Any] = [
        ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, FEEDS)[0]
        for proto in (before, after)
    ]
    assert len(after.graph.node) > len(before.graph.node)
    assert np.allclose(*results, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        doubling((3, 2, 2)),  # its frames overlap
        doubling((2, 2, 2), strides=[3, 2, 2]),  # some frames have no source
        doubling(pads=[1, 0, 0, 0, 0, 0]),
        doubling(output_padding=[1, 0, 0]),
        doubling(dilations=[2, 1, 1]),
        doubling(auto_pad="SAME_UPPER"),
        doubling(output_shape=[6, 16, 32]),
        doubling(group=2),
        doubling(rows=4),  # a frame has too few positions
        doubling(rows="h"),
    ],
)
def test_anything_else_stays(model: onnx.ModelProto) -> None:
    assert not rewrite(ConvTransposeAs2d(), model).modified


def test_nothing_is_transposed_between_layers_with_frames_first() -> None:
    """A decoder of a U-Net: convolution, doubling, convolution."""
    nodes = [
        node("Conv", "x w1", "a", pads=[1] * 6),
        node("ConvTranspose", "a up", "b", strides=[2] * 3),
        node("Conv", "b w2", "y", pads=[1] * 6),
    ]
    held = {"w1": normal(32, 32, 3, 3, 3), "up": normal(32, 32, 2, 2, 2), "w2": normal(32, 32, 3, 3, 3)}
    loaded = ir.from_proto(graph(nodes, {"x": ("n", 32, 16, 32, 32)}, {"y": ("n", *"abcd")}, held))
    result = run_passes(loaded, build_passes(OptimizeOptions("cpu")))
    assert "conv-transpose-as-2d" in result.changed
    moved = [made for made in result.model.graph if list(made.attributes.get_ints("perm") or ()) == FRAMES]
    assert [str(made.name).split(".")[-1] for made in moved] == ["frames_first", "frames", "channels_first"]
    assert ".weight." in str(moved[1].name)
