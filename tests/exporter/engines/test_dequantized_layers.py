"""An int8 file that onnxruntime computes in float32 is reported, with what that costs."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from helpers.graphs import graph, node, normal, run_onnxruntime, save

from exporter.engines.base import RuntimeOptions
from exporter.engines.dequantized_layers import (
    describe_dequantized_layers,
    find_dequantized_layers,
    measure_slowdown,
    remove_quantization,
)
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.errors import OutputError

CONV: dict[str, Any] = {"kernel_shape": [3, 3, 3], "pads": [1] * 6}


def without_quantization(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = ir.from_proto(model)
    remove_quantization(changed)
    return ir.to_proto(changed)


def quantized(zero_point: Any, relu: str = "Relu") -> onnx.ModelProto:
    """A convolution between Q/DQ, a ReLU, and the Q/DQ of the next layer."""
    weights: dict[str, Any] = {
        "s": np.array(0.05, np.float32),
        "z": np.array(zero_point),
        "w": np.random.default_rng(0).integers(-127, 128, (8, 4, 3, 3, 3), dtype=np.int8),
        "ws": np.full(8, 0.01, np.float32),
        "wz": np.zeros(8, np.int8),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w ws wz", "dw", axis=0),
        node("Conv", "d dw", "conv", **CONV),
        node(relu, "conv", "r"),
        node("QuantizeLinear", "r s z", "q2"),
        node("DequantizeLinear", "q2 s z", "y"),
    ]
    return graph(nodes, {"x": ("n", 4, 4, 8, 8)}, {"y": ("n", 8, 4, 8, 8)}, weights, 17)


def test_layers_that_are_dequantised_are_named_with_the_measured_cost(tmp_path: Path) -> None:
    path = save(tmp_path / "signed.onnx", quantized(np.int8(0)))
    note = describe_dequantized_layers(path)
    assert note is not None
    found = re.search(r"dequantises 1 int8 layer at each run \(conv.node\), which takes ([\d.]+) times", note)
    assert found
    assert 0.05 < float(found[1]) < 100
    with OnnxRuntime(path, RuntimeOptions()) as runtime:
        runtime.run({"x": normal(1, 4, 4, 8, 8)})
        assert "dequantises 1 int8 layer" in runtime.notes[0]


def test_layers_that_run_in_int8_are_not_reported(tmp_path: Path) -> None:
    path = save(tmp_path / "unsigned.onnx", quantized(np.uint8(0)))
    assert describe_dequantized_layers(path) is None


def test_float32_files_are_not_even_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_: pytest.fail("loaded"))
    model = graph([node("Relu", "x", "y")], {"x": (2,)}, {"y": (2,)}, {}, 17)
    assert describe_dequantized_layers(save(tmp_path / "float.onnx", model)) is None


def test_without_quantisation_the_graph_computes_in_float32() -> None:
    model = quantized(np.int8(0))
    model.graph.node.append(node("Neg", "y", "out"))
    model.graph.output[0].name = "out"
    x = normal(2, 4, 4, 8, 8)
    plain = without_quantization(model)
    assert [made.op_type for made in plain.graph.node] == ["DequantizeLinear", "Conv", "Relu", "Neg"]
    (first,), (second,) = (run_onnxruntime(made, {"x": x}).values() for made in (model, plain))
    assert second.min() < -127 * 0.05 - 0.1  # no longer saturated
    np.testing.assert_allclose(np.maximum(second, -127 * 0.05), first, atol=0.4)


@pytest.mark.parametrize(("dtype", "measured"), [(onnx.TensorProto.UINT8, True), (onnx.TensorProto.INT64, False)])
def test_decoded_frames_are_measured_and_other_inputs_are_not(dtype: int, measured: bool, tmp_path: Path) -> None:
    model = quantized(np.int8(0))
    model.graph.node.insert(0, node("Cast", "frames", "x", to=onnx.TensorProto.FLOAT))
    model.graph.input[0].name = "frames"
    model.graph.input[0].type.tensor_type.elem_type = dtype
    found = measure_slowdown(save(tmp_path / "frames.onnx", model))
    assert (found is not None) == measured


def test_a_graph_that_does_not_run_at_sizes_of_one_is_not_measured(tmp_path: Path) -> None:
    model = quantized(np.int8(0))
    model.graph.node.insert(0, node("Pad", "wide pads", "x", mode="reflect"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0] * 9 + [1]), "pads"))
    model.graph.input[0].name = "wide"
    model.graph.input[0].type.tensor_type.shape.dim[4].dim_param = "width"
    path = save(tmp_path / "padded.onnx", model)
    assert measure_slowdown(path) is None
    note = describe_dequantized_layers(path)
    assert note is not None
    assert "dequantises 1 int8 layer" in note


def test_a_quantised_output_of_the_graph_stays() -> None:
    model = quantized(np.int8(0))
    model.graph.output.append(onnx.helper.make_tensor_value_info("q3", onnx.TensorProto.INT8, None))
    model.graph.node.append(node("QuantizeLinear", "r s z", "q3"))
    changed = without_quantization(model)
    assert changed.graph.node[-1].output == ["q3"]
    assert set(run_onnxruntime(changed, {"x": normal(1, 4, 4, 8, 8)})) == {"y", "q3"}


def test_what_a_branch_of_an_if_dequantises_stays() -> None:
    model = quantized(np.int8(0))
    branches = [
        onnx.helper.make_graph(
            [node("DequantizeLinear", "q s z", "d"), node(operator, "d", "r")],
            operator,
            [],
            [onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None)],
        )
        for operator in ("Relu", "Neg")
    ]
    model.graph.output.append(onnx.helper.make_tensor_value_info("i", onnx.TensorProto.FLOAT, None))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "first"))
    model.graph.node.append(node("If", "first", "i", then_branch=branches[0], else_branch=branches[1]))
    x = {"x": normal(1, 4, 4, 8, 8)}
    changed = run_onnxruntime(without_quantization(model), x)
    assert np.array_equal(changed["i"], run_onnxruntime(model, x)["i"])


def test_a_full_disk_is_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime, which writes its optimised graph into a temporary file, says only that it failed."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf serialization failed.")

    path = save(tmp_path / "m.onnx", quantized(np.int8(0)))
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=60_000_000, used=0, free=0))
    with pytest.raises(OutputError, match="No space left on device"):
        find_dequantized_layers(path)
