"""onnxruntime: providers, placement, signatures and refusals."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import small_models
from onnx import TensorProto, helper

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.engines.onnxruntime import (
    FLOAT16_ON_CPU,
    FLOAT16_ON_CUDA,
    NO_TF32,
    PROVIDERS,
    OnnxRuntime,
    count_placement,
)
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from exporter.results import Placement
from exporter.types import Device


@dataclass
class Node:
    name: str
    op_type: str


@dataclass
class Subgraph:
    ep_name: str
    nodes: list[Node]

    def get_nodes(self) -> list[Node]:
        return self.nodes


def test_all_nodes_are_counted_on_the_cpu(tmp_path: Path) -> None:
    with OnnxRuntime(small_models.network(tmp_path / "m.onnx"), RuntimeOptions()) as runtime:
        assert (runtime.placement.device, runtime.placement.fallback_nodes) == ("cpu", ())
        assert 3 <= runtime.placement.nodes <= 7  # onnxruntime fuses each ReLU with its convolution
        assert str(runtime.signature) == "x float32 (n, 3, 8, 8) -> scores float32 (n, 7)"


def test_float16_on_the_cpu_is_said_to_be_no_evidence(tmp_path: Path) -> None:
    path = small_models.network(tmp_path / "m.onnx")
    half = small_models.narrowed(path, tmp_path / "h.onnx", TensorProto.FLOAT16)
    assert OnnxRuntime(path, RuntimeOptions()).notes == ()
    assert OnnxRuntime(half, RuntimeOptions()).notes == (FLOAT16_ON_CPU,)
    assert OnnxRuntime(half, RuntimeOptions("cuda")).notes == (FLOAT16_ON_CUDA,)
    assert OnnxRuntime(path, RuntimeOptions("cuda")).notes == ()


def test_nodes_that_fell_back_are_named() -> None:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    assignments = [
        Subgraph(cuda, [Node("conv1", "Conv"), Node("fc6", "Gemm")]),
        Subgraph(cpu, [Node("pool5", "MaxPool")]),
    ]
    assert count_placement("cuda", assignments) == Placement("cuda", 3, ("pool5 (MaxPool)",))
    assert count_placement("cuda", assignments[:1]) == Placement("cuda", 2)


def test_cuda_without_its_provider_names_the_package() -> None:
    with pytest.raises(UnavailableError, match="no CUDAExecutionProvider; .*pip install 'onnxruntime-gpu") as caught:
        find_engine("onnx").require_device("cuda")
    assert caught.value.exit_code == 4


CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
FLOAT32 = {"use_tf32": "0"}
FLOAT16 = FLOAT32 | {"cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"}


@pytest.mark.parametrize(
    ("device", "dtype", "wanted", "libraries"),
    [
        ("cuda", None, [(CUDA, FLOAT32), CPU], "the CUDA and cuDNN libraries"),
        ("cuda", TensorProto.FLOAT16, [(CUDA, FLOAT16), CPU], "the CUDA and cuDNN libraries"),
        ("tensorrt", None, [TENSORRT, (CUDA, FLOAT32), CPU], "the CUDA, cuDNN and TensorRT libraries"),
    ],
)
def test_a_device_that_does_not_start_is_told(
    device: Device,
    dtype: int | None,
    wanted: list[object],
    libraries: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """onnxruntime-gpu without a driver offers the provider and then quietly uses the CPU."""
    asked: list[object] = []
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, providers: list[object]) -> onnxruntime.InferenceSession:
        asked.extend(providers)
        return real(path, options, providers=[CPU])

    monkeypatch.setenv(NO_TF32, "1")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcudart.so.13"))  # noqa: T201
    find_engine("onnx").require_device(device)
    path = small_models.network(tmp_path / "m.onnx")
    if dtype is not None:
        path = small_models.narrowed(path, tmp_path / "h.onnx", dtype)
    reported = (
        f"--device {device}: onnxruntime-gpu is installed but could not start {PROVIDERS[device]} here; .*{libraries}"
    )
    with pytest.raises(UnavailableError, match=reported), OnnxRuntime(path, RuntimeOptions(device)):
        pass
    assert asked == wanted
    assert capsys.readouterr().out == ""
    assert os.environ[NO_TF32] == ("0" if device == "tensorrt" else "1")  # TensorRT has no option of its own for it


def test_tensorrt_counts_what_cuda_took_as_elsewhere() -> None:
    assignments = [Subgraph(TENSORRT, [Node("conv1", "Conv")]), Subgraph(CUDA, [Node("flatten", "Reshape")])]
    assert count_placement("tensorrt", assignments) == Placement("tensorrt", 2, ("flatten (Reshape)",))


def test_every_value_in_the_order_computed_and_so_many_threads(tmp_path: Path) -> None:
    path = small_models.network(tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with OnnxRuntime(path, RuntimeOptions(all_outputs=True, threads=1)) as runtime:
        assert runtime.session.get_session_options().intra_op_num_threads == 1
        values = runtime.run({"x": x})
    assert [*values] == [*small_models.LAYERS]
    assert np.array_equal(values["relu1"], np.maximum(values["conv1"], 0))


def test_every_value_of_a_model_with_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = onnx.load(small_models.network(tmp_path / "m.onnx"))
    (tmp_path / "apart").mkdir()
    onnx.save(whole, tmp_path / "apart" / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    results: list[Any] = []
    for path in (Path("m.onnx"), Path("apart", "m.onnx")):
        with OnnxRuntime(path, RuntimeOptions(all_outputs=True, threads=1)) as runtime:
            results.append(runtime.run({"x": x}))
    assert [*results[0]] == [*results[1]] == [*small_models.LAYERS]
    assert all(np.array_equal(results[0][name], results[1][name]) for name in small_models.LAYERS)


def test_torchscript_on_cuda_without_cuda() -> None:
    with pytest.raises(UnavailableError, match="pip install a CUDA build of torch"):
        find_engine("torchscript").require_device("cuda")


def save(path: Path, *, name: str = "clip", time: int = 16, opset: int = 20, width: int = 101) -> Path:
    """A tiny model with a signature of choice."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, time, 112, 112])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", width])]
    nodes = [
        helper.make_node("ReduceMean", [name, "axes"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean2", "shape"], ["logits"]),
        helper.make_node("Unsqueeze", ["mean", "one"], ["mean2"]),
    ]
    nodes[1], nodes[2] = nodes[2], nodes[1]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [4], [1, 2, 3, 4]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("shape", TensorProto.INT64, [2], [1, width]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def test_a_file_that_onnxruntime_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x0a bad")
    with (
        pytest.raises(ArtifactError, match="onnxruntime rejects it") as caught,
        OnnxRuntime(tmp_path / "bad.onnx", RuntimeOptions()),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_newer_opset_names_the_option(tmp_path: Path) -> None:
    path = save(tmp_path / "future.onnx", opset=29)
    with (
        pytest.raises(ArtifactError, match="opset 29 is newer than this onnxruntime knows.*--opset 28"),
        OnnxRuntime(path, RuntimeOptions()),
    ):
        pass


def test_a_model_that_fails_on_a_batch_is_a_failed_check(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["n", 3, 16, 112, 112])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 602112])]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 602112])
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["clip", "shape"], ["logits"])], "g", inputs, outputs, [shape]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "one.onnx")
    with OnnxRuntime(tmp_path / "one.onnx", RuntimeOptions()) as runtime:
        runtime.run({"clip": np.zeros((1, 3, 16, 112, 112), np.float32)})
        with pytest.raises(CheckFailedError, match=r"fails on clip \(2, 3, 16, 112, 112\): ") as caught:
            runtime.run({"clip": np.zeros((2, 3, 16, 112, 112), np.float32)})
    assert "\n" not in str(caught.value)
