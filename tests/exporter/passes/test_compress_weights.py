"""Weights in fewer bits: the file shrinks, the layers that can compute on them do, the rest is left and says why."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite, run_float64, run_onnxruntime
from numpy.typing import NDArray

from exporter.onnx_io.precision import detect_precision
from exporter.passes.compress_weights import CompressWeights

HALF = 2e-3
"""float16 keeps 11 bits: 5e-4 a weight, and errors of a sum's terms add up like its root."""
BYTE = 3e-2
"""A weight is off by up to half of max|W| / 127, and onnxruntime rounds a linear layer's input to 8 bits as well."""

CONV = graph(
    [node("Conv", "x w b", "y", kernel_shape=[3] * 3, pads=[1] * 6)],
    {"x": ("n", 8, 3, 5, 5)},
    {"y": ("n", 24, 3, 5, 5)},
    {"w": normal(24, 8, 3, 3, 3), "b": normal(24)},
    28,
)
CLIP = {"x": normal(2, 8, 3, 5, 5)}


def linear(nodes: list[onnx.NodeProto], opset: int = 21, **weights: NDArray[Any]) -> onnx.ModelProto:
    return graph(nodes, {"x": ("n", 256)}, {"y": ("n", 40)}, weights, opset)


GEMM = linear([node("Gemm", "x w b", "y", transB=1)], w=normal(40, 256), b=normal(40))
ROWS = {"x": normal(3, 256)}


@pytest.mark.parametrize(("model", "feeds"), [(CONV, CLIP), (GEMM, ROWS)], ids=["Conv", "Gemm"])
def test_float16_is_cast_back(model: onnx.ModelProto, feeds: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    done = check_pass(CompressWeights("fp16"), model, feeds, tmp_path, HALF)
    assert done.modified
    assert done.operators == ["Cast", model.graph.node[0].op_type]
    assert done.weight("w").dtype == np.float16
    assert done.weight("b").dtype == np.float32
    onnx.save(done.model, tmp_path / "half.onnx")
    assert detect_precision(tmp_path / "half.onnx") == "float16"  # which decides its tolerance


def test_a_weight_that_two_layers_read_is_cast_once(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "a"), node("Gemm", "x w", "c"), node("Add", "a c", "y")]
    done = check_pass(CompressWeights("fp16"), linear(nodes, w=normal(256, 40)), ROWS, tmp_path, HALF)
    assert done.operators == ["Cast", "Gemm", "Gemm", "Add"]


def test_what_float16_cannot_hold_stays() -> None:
    done = rewrite(CompressWeights("fp16"), linear([node("Gemm", "x w", "y")], w=normal(256, 40) * np.float32(1e5)))
    assert not done.modified
    assert done.reasons == ["a weight is beyond float16's largest number, 65504"]


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_small_tensors_stay(kind: Any) -> None:
    model = linear([node("MatMul", "x w", "m"), node("MatMul", "m v", "y")], w=normal(256, 4), v=normal(4, 40))
    assert not rewrite(CompressWeights(kind), model).modified


def test_a_convolution_has_a_scale_for_each_channel(tmp_path: Path) -> None:
    done = check_pass(CompressWeights("int8"), CONV, CLIP, tmp_path, BYTE)
    assert done.operators == ["Cast", "Mul", "Conv"]
    weights, scales = normal(24, 8, 3, 3, 3).astype(np.float64), done.weight("w.scale")
    assert scales.shape == (24, 1, 1, 1, 1)
    assert np.allclose(scales.reshape(-1), np.abs(weights).max(axis=(1, 2, 3, 4)) / 127, rtol=1e-6)
    assert np.abs(done.weight("w") * scales - weights).max() <= scales.max() * 0.5001


@pytest.mark.parametrize(
    ("nodes", "weights", "operators"),
    [
        ([node("Gemm", "x w b", "y", transB=1)], {"w": normal(40, 256), "b": normal(40)}, ["MatMul", "Sum"]),
        ([node("Gemm", "x w", "y")], {"w": normal(256, 40)}, ["MatMul"]),
        ([node("MatMul", "x w", "m"), node("Relu", "m", "y")], {"w": normal(256, 40)}, ["MatMul", "Relu"]),
    ],
    ids=["Gemm, transposed", "Gemm without bias", "MatMul"],
)
def test_a_linear_layer_has_a_scale_for_each_block(
    nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], operators: list[str], tmp_path: Path
) -> None:
    done = check_pass(CompressWeights("int8"), linear(nodes, 21, **weights), ROWS, tmp_path, BYTE)
    assert done.operators == ["DequantizeLinear", *operators]
    assert [row.node for row in done.step.decisions] == [nodes[0].name]
    assert done.weight("w").dtype == np.int8
    assert done.weight("w").shape == (256, 40)
    assert done.weight("w.scale").shape == (2, 40)
    onnx.save(done.model, tmp_path / "byte.onnx")
    assert detect_precision(tmp_path / "byte.onnx") == "int8"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["y", ""])
def test_a_layer_keeps_its_name_which_may_be_that_of_its_output(name: str, bias: bool) -> None:
    layer = node("Gemm", "x w b" if bias else "x w", "y")
    layer.name = name
    done = rewrite(CompressWeights("int8"), linear([layer], w=normal(256, 40), b=normal(40)))
    assert (done.model.graph.node[-1].name, done.model.graph.node[-1].output[0]) == (name, "y")
    assert [row.node for row in done.step.decisions] == ["y"]


def test_onnxruntime_computes_on_the_int8_weights_of_every_layer(tmp_path: Path) -> None:
    """Where it does not, a layer takes 30 times as long: its optimized graph has no DequantizeLinear left."""
    nodes = [
        node("Gemm", "x w b", "g", transB=1),
        node("Relu", "g", "r"),
        node("MatMul", "r u", "m"),
        node("Add", "m d", "a"),
        node("Relu", "a", "s"),
        node("Gemm", "s v c", "y"),
    ]
    held = {
        "w": normal(128, 256),
        "b": normal(128),
        "u": normal(128, 128),
        "d": normal(128),
        "v": normal(128, 40),
        "c": normal(40),
    }
    for opset in (21, 28):
        done = rewrite(CompressWeights("int8"), linear(nodes, opset, **held))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        onnxruntime.InferenceSession(done.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        operators = [made.op_type for made in onnx.load(tmp_path / "optimized.onnx").graph.node]
        assert operators.count("MatMulNBits") == 3
        assert "DequantizeLinear" not in operators


def test_channels_of_zeros_stay_zeros(tmp_path: Path) -> None:
    weights = normal(256, 40)
    weights[:, 7] = 0
    done = rewrite(CompressWeights("int8"), linear([node("Gemm", "x w", "y")], w=weights))
    assert not run_onnxruntime(done.model, ROWS)["y"][:, 7].any()
    assert not run_float64(linear([node("Gemm", "x w", "y")], w=weights), ROWS, tmp_path)["y"][:, 7].any()


REFUSED = {
    "opset": (linear([node("Gemm", "x w", "y")], 18, w=normal(256, 40)), "need opset 21; the model has 18"),
    "alpha": (linear([node("Gemm", "x w", "y", alpha=2.0)], w=normal(256, 40)), "scales or transposes its input"),
    "read twice": (
        linear([node("MatMul", "x w", "a"), node("MatMul", "x w", "b"), node("Add", "a b", "y")], w=normal(256, 40)),
        "read by several nodes",
    ),
    "width": (
        graph([node("Gemm", "x w", "y")], {"x": ("n", 250)}, {"y": ("n", 40)}, {"w": normal(250, 40)}, 21),
        "its 250 inputs are no multiple of 32",
    ),
    "three axes": (
        graph([node("MatMul", "x w", "y")], {"x": (2, 5, 64)}, {"y": (2, 5, 64)}, {"w": normal(2, 64, 64)}, 21),
        "MatMul with a weight of 3 axes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_int8_variant_stays_and_says_why(case: str) -> None:
    model, reason = REFUSED[case]
    done = rewrite(CompressWeights("int8"), model)
    assert not done.modified
    assert reason in done.reasons[0]


def test_names_are_read_once_however_many_layers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took a minute for a thousand layers: the names of the whole graph were read for each new node."""
    read: list[object] = []
    graphs = ir.Graph.__iter__
    monkeypatch.setattr(ir.Graph, "__iter__", lambda walked: read.append(walked) or graphs(walked))
    layers = [[node("Gemm", f"h{i} w{i}", f"h{i + 1}") for i in range(count)] for count in (3, 6)]
    walks: list[int] = []
    for nodes in layers:
        shapes = {"h0": ("n", 64)}, {f"h{len(nodes)}": ("n", 64)}
        model = ir.from_proto(graph(nodes, *shapes, {f"w{i}": normal(64, 64) for i in range(len(nodes))}, 21))
        read.clear()
        assert CompressWeights("int8")(model).modified
        walks.append(len(read))
    assert walks[0] == walks[1]
