"""Each engine outputs as it should, and honours threads and device; CUDA through stand-ins for the libraries."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ExportedByCommand
from helpers.small_models import convolution

from exporter.bench.worker_client import engine_file
from exporter.bench.worker_main import load_engine
from exporter.engines import RuntimeOptions
from exporter.engines.pytorch import PyTorchRuntime
from models.builder import BuiltModel

CLIP = np.random.default_rng(0).standard_normal((1, 3, 16, 112, 112), dtype=np.float32)


def engine(name: str) -> Any:
    return load_engine(str(engine_file(name)))


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_onnxruntime_returns_by_the_names_asked_for(tmp_path: Path) -> None:
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
    ("available", "started", "reported"),
    [((CPU,), (CPU,), "pip install onnxruntime-gpu"), ((CUDA, CPU), (CPU,), "could not start CUDA")],
)
def test_onnxruntime_does_not_pass_the_cpu_off_as_cuda(
    available: tuple[str, ...], started: tuple[str, ...], reported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, available, started)
    with pytest.raises(ImportError, match=reported):
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


def test_torchscript_on_cuda_waits_for_the_gpu_before_it_returns(monkeypatch: pytest.MonkeyPatch) -> None:
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
        "path": str(path),
        "root": sys.path[0],
        "device": "cpu",
        "threads": 1,
        "compile": compiled,
        "architecture": "C3D",
        "settings": {"num_classes": 101, "batch_norm": False, "pool5": "symmetric"},
        "outputs": ["fc6", "probabilities"],
    }


def test_torch_eager_is_the_network_with_the_outputs_asked_for(built: BuiltModel, tmp_path: Path) -> None:
    torch.save(built.network.state_dict(), tmp_path / "state.pt")
    call = engine("torch_network").load(network_job(tmp_path / "state.pt"))
    assert torch.get_num_threads() == 1
    fc6, probabilities = call({"clip": CLIP})
    with PyTorchRuntime(built, "float32", RuntimeOptions()) as runtime:
        expected = runtime.run({"clip": CLIP})
    assert np.allclose(fc6, expected["fc6"], atol=1e-5)
    assert np.allclose(probabilities, expected["probabilities"], atol=1e-6)


def test_inductor_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ImportError, match="there is no no-such-compiler; apt-get install"):
        engine("torch_network").load(network_job(Path("not even read"), compiled=True))


def test_torchscript_returns_as_eager_does(exported: ExportedByCommand, built: BuiltModel) -> None:
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


def test_openvino_returns_as_onnxruntime_at_every_batch_size(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = convolution(tmp_path / "m.onnx")
    one, two = (np.random.default_rng(0).standard_normal((batch, 3, 4, 8, 8), dtype=np.float32) for batch in (1, 2))
    job = {
        "path": str(path),
        "inputs": ["x"],
        "outputs": ["y"],
        "threads": 1,
        "device": "cpu",
        "shapes": {"x": [1, 3, 4, 8, 8]},
    }
    call, reference = engine("open_vino").load(job), engine("onnx_runtime").load(job)
    for clips in (one, two, one):  # another batch size, and back
        assert np.allclose(call({"x": clips})[0], reference({"x": clips})[0], atol=1e-5)


class Doubling:
    """MNN's module as far as the engine knows it: doubles, or outputs nothing."""

    loaded: list[dict[str, Any]]
    outputs = True

    def forward(self, given: list[Any]) -> list[Any]:
        return [2 * value for value in given] if Doubling.outputs else []


def load_module(path: str, inputs: list[str], outputs: list[str], **options: Any) -> Doubling:
    Doubling.loaded.append({"path": path, **options})
    return Doubling()


@pytest.fixture
def mnn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The engine with a stand-in for MNN, which cannot run graphs as small as these."""
    expr = SimpleNamespace(
        PrecisionMode=SimpleNamespace(High="high"),
        NCHW="NCHW",
        float="f",
        int="i",
        uint8="u",
        const=lambda value, shape, order, dtype: value,
        convert=lambda answer, order: SimpleNamespace(read=lambda: answer),
    )
    for name, module in {
        "MNN": SimpleNamespace(version=lambda: "3.6.1"),
        "MNN.expr": expr,
        "MNN.nn": SimpleNamespace(load_module_from_file=load_module),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Doubling, "loaded", [], raising=False)
    monkeypatch.setattr(Doubling, "outputs", True)
    return engine("mnn")


MNN_JOB = {"path": "m.mnn", "inputs": ["x"], "outputs": ["y"], "threads": 3, "device": "cpu", "shapes": {"x": [1, 2]}}


def test_mnn_computes_in_float32_and_is_loaded_once_for_each_batch_size(mnn: Any) -> None:
    assert mnn.library() == "MNN 3.6.1"
    call = mnn.load(MNN_JOB)
    one, two = np.ones((1, 2), "float32"), np.ones((2, 2), "float32")
    for clips in (one, one, two, two):
        assert np.array_equal(call({"x": clips})[0], 2 * clips)
    assert len(Doubling.loaded) == 2
    assert all((made["precision_mode"], made["thread_num"]) == ("high", 3) for made in Doubling.loaded)


def test_mnn_that_returns_nothing_has_failed(mnn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doubling, "outputs", False)
    with pytest.raises(RuntimeError, match="MNN returns 0 of 1 outputs"):
        mnn.load(MNN_JOB)({"x": np.ones((1, 2), "float32")})
