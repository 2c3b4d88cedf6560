"""Each engine answers as it should, and honours threads and device; CUDA through stand-ins for the libraries."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ExportedByCommand
from helpers.graphs import convolution

from exporter.bench.worker import load_engine
from exporter.bench.workers import engine_file
from models.builder import BuiltNetwork

CLIP = np.random.default_rng(0).standard_normal((1, 3, 16, 112, 112), dtype=np.float32)


def engine(name: str) -> Any:
    return load_engine(str(engine_file(name)))


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_onnxruntime_answers_by_the_names_asked_for(tmp_path: Path) -> None:
    path = convolution(tmp_path / "m.onnx")
    call = engine("onnx_runtime").load({"path": str(path), "outputs": ["y"], "threads": 1, "device": "cpu"})
    (answer,) = call({"x": np.ones((2, 3, 4, 8, 8), "float32")})
    assert answer.shape == (2, 5)
    assert np.array_equal(answer[0], answer[1])


class Session:
    """onnxruntime as far as the engine knows it; `started` are the providers that could start."""

    made: list[Any]

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        Session.made = [path, options.intra_op_num_threads, providers]

    started = ("CUDAExecutionProvider", "CPUExecutionProvider")

    def get_providers(self) -> list[str]:
        return list(self.started)

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        return [feeds["x"]]


def stand_in(monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...], started: tuple[str, ...]) -> None:
    monkeypatch.setattr(Session, "started", started)
    library = SimpleNamespace(
        SessionOptions=SimpleNamespace, InferenceSession=Session, get_available_providers=lambda: list(available)
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", library)


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
JOB = {"path": "m.onnx", "outputs": ["y"], "threads": 3, "device": "cuda"}


def test_onnxruntime_on_cuda_asks_for_cuda_without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, (CUDA, CPU), (CUDA, CPU))
    assert engine("onnx_runtime").load(JOB)({"x": 1}) == [1]
    assert Session.made == ["m.onnx", 3, [(CUDA, {"use_tf32": "0"}), CPU]]


@pytest.mark.parametrize(
    ("available", "started", "told"),
    [((CPU,), (CPU,), "pip install onnxruntime-gpu"), ((CUDA, CPU), (CPU,), "could not start CUDA")],
)
def test_onnxruntime_does_not_pass_the_cpu_off_as_cuda(
    available: tuple[str, ...], started: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, available, started)
    with pytest.raises(ImportError, match=told):
        engine("onnx_runtime").load(JOB)


class Tensor:
    """A tensor that notes where it goes."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def to(self, device: str) -> "Tensor":
        self.log.append(f"to {device}")
        return self

    def cpu(self) -> "Tensor":
        self.log.append("to host")
        return self

    def numpy(self) -> str:
        return "numbers"


def test_torchscript_on_cuda_waits_for_the_gpu_before_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Module:
        def eval(self) -> "Module":
            return self

        def __call__(self, clip: Tensor) -> Tensor:
            log.append("run")
            return clip

    def load(path: str, map_location: str) -> Module:
        log.append(f"load on {map_location}")
        return Module()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("wait"))
    monkeypatch.setattr(torch.jit, "load", load)
    monkeypatch.setattr(torch, "from_numpy", lambda _value: Tensor(log))
    call = engine("torch_script").load({"path": "m.pt", "threads": 1, "device": "cuda", "optimise": True})
    assert call({"clip": 0}) == ["numbers"]
    assert log == ["load on cuda", "to cuda", "run", "wait", "to host"]


@pytest.mark.parametrize("name", ["torch_script", "torch_network"])
def test_torch_without_cuda_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    job = {"path": "m.pt", "threads": 1, "device": "cuda", "root": sys.path[0], "network": {}, "compile": False}
    with pytest.raises(ImportError, match="cannot use CUDA here"):
        engine(name).load(job)


def network_job(path: Path, *, compiled: bool = False) -> dict[str, Any]:
    return {
        "path": str(path), "root": sys.path[0], "device": "cpu", "threads": 1, "compile": compiled,
        "network": {"num_classes": 101, "batch_norm": False, "pool5": "symmetric"}, "outputs": ["fc6", "probabilities"],
    }  # fmt: skip


def test_torch_eager_is_the_network_with_the_outputs_asked_for(built: BuiltNetwork, tmp_path: Path) -> None:
    torch.save(built.network.state_dict(), tmp_path / "state.pt")
    call = engine("torch_network").load(network_job(tmp_path / "state.pt"))
    assert torch.get_num_threads() == 1
    fc6, probabilities = call({"clip": CLIP})
    with torch.inference_mode():
        expected, _, logits = built.network.stages(torch.from_numpy(CLIP))
    assert np.allclose(fc6, expected.numpy(), atol=1e-5)
    assert np.allclose(probabilities, torch.softmax(logits, 1).numpy(), atol=1e-6)


def test_inductor_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ImportError, match="there is no no-such-compiler; apt-get install"):
        engine("torch_network").load(network_job(Path("not even read"), compiled=True))


def test_torchscript_answers_as_eager_does(exported: ExportedByCommand, built: BuiltNetwork) -> None:
    job = {"path": str(exported.torchscript), "threads": 1, "device": "cpu", "optimise": False}
    (logits,) = engine("torch_script").load(job)({"clip": CLIP})
    with torch.inference_mode():
        assert np.allclose(logits, built.network(torch.from_numpy(CLIP)).numpy(), atol=1e-5)


@pytest.mark.parametrize("product", ["numpy", "torch"])
def test_the_matrix_product_is_one(product: str) -> None:
    call = engine("matrix_product").load({"product": product, "size": 40, "threads": 1})
    generator = np.random.default_rng(0)
    a, b = (generator.random((40, 40), dtype=np.float32) for _ in range(2))
    assert call({})[0].item() == pytest.approx((a @ b)[0, 0])


@pytest.mark.parametrize("library", ["openvino", "MNN"])
def test_optional_engines_answer_as_onnxruntime(library: str, tmp_path: Path) -> None:
    """MNN is only checked where it and its converter share this interpreter."""
    pytest.importorskip(library)
    path = convolution(tmp_path / "m.onnx")
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 4, 8, 8), dtype=np.float32)}
    job = {"path": str(path), "inputs": ["x"], "outputs": ["y"], "threads": 1, "device": "cpu",
           "shapes": {"x": [1, 3, 4, 8, 8]}}  # fmt: skip
    expected = engine("onnx_runtime").load(job)(feeds)[0]
    if library == "MNN":
        target = tmp_path / "m.mnn"
        importlib.import_module("_tools").mnnconvert(
            ["mnnconvert", "-f", "ONNX", "--modelFile", str(path), "--MNNModel", str(target), "--bizCode", "x"]
        )
        job["path"] = str(target)
    answer = engine({"openvino": "open_vino", "MNN": "mnn"}[library]).load(job)(feeds)[0]
    assert np.allclose(answer, expected, atol=1e-5)
