"""The table of engines: what each runs, and that one class and one row make a new one."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import graphs, toy_engine
from helpers.run import python

from exporter import engines
from exporter.bench import runner
from exporter.bench.roofline import Product
from exporter.bench.types import BenchRequest
from exporter.engines import ENGINES, engine_names, find_engine, import_attribute
from exporter.errors import UnavailableError, UsageError
from exporter.types import DEVICES, FORMAT_NAMES, Device, FormatName, ParityOptions
from exporter.workflows.bench import benchmark
from exporter.workflows.verify import verify_parity


@pytest.fixture
def path(tmp_path: Path) -> Path:
    weight = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    nodes = [graphs.node("MatMul", "x w", "y")]
    return graphs.save(tmp_path / "m.onnx", graphs.graph(nodes, {"x": ("n", 6)}, {"y": ("n", 5)}, {"w": weight}))


def test_every_format_has_an_engine_and_every_row_an_adapter() -> None:
    assert all(name in find_engine(name).runs for name in FORMAT_NAMES)
    for engine in ENGINES.values():
        assert callable(import_attribute(engine.runtime))
    assert engine_names() == [
        "onnxruntime",
        "torchscript",
        "torch-export",
        "tensorrt-runtime",
        "aot-inductor",
        "openvino",
        "onnx-reference",
        "float16-emulation",
    ]


def test_engines_whose_layers_turn_nan_into_a_number_are_not_compared_on_it() -> None:
    skipped = {name for name, engine in ENGINES.items() if "nan" in engine.unsupported_inputs}
    assert {"aot-inductor", "openvino", "tensorrt-runtime"} <= skipped
    assert not {"onnxruntime", "torchscript", "torch-export"} & skipped


def test_an_engine_is_refused_for_another_format() -> None:
    with pytest.raises(UsageError, match="openvino does not run torchscript files; torchscript can"):
        find_engine("torchscript", "openvino")
    with pytest.raises(UsageError, match="mnn does not run onnx files"):
        find_engine("onnx", "mnn")


@pytest.mark.parametrize(
    ("name", "device"),
    [("openvino", "cuda"), ("onnx-reference", "tensorrt"), ("torchscript", "tensorrt"), ("onnxruntime", "tensorrt")],
)
def test_a_device_that_the_engine_cannot_use_is_refused(name: str, device: Device) -> None:
    with pytest.raises(UnavailableError, match=f"--device {device}: ") as caught:
        ENGINES[name].require_device(device)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("name", "device"), [(name, device) for name in FORMAT_NAMES for device in DEVICES])
def test_a_format_is_refused_on_a_device_that_no_engine_of_it_uses(name: FormatName, device: Device) -> None:
    engines_of_it = [engine for engine in ENGINES.values() if name in engine.runs]
    for engine in (engine for engine in engines_of_it if device not in engine.devices):
        with pytest.raises(UnavailableError, match=f"--device {device}: {engine.display_name} runs on "):
            engine.require_device(device)


def test_a_missing_library_names_the_extra_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UnavailableError, match=r"OpenVINO is not installed; pip install 'c3d-export\[openvino\]'"):
        ENGINES["openvino"].require_device("cpu")


def test_a_class_and_a_row_are_an_engine_of_verify_and_bench(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"onnxruntime": ENGINES["onnxruntime"], "toy": toy_engine.ENGINE})
    monkeypatch.setenv("PYTHONPATH", toy_engine.TESTS)
    monkeypatch.setattr(runner, "measure_product", lambda *_: Product(1e9, "fake"))
    (report,) = verify_parity([path], ParityOptions(engine="toy", against=path))
    assert report.passed
    assert report.engine.startswith("toy 1.0")
    found = benchmark(
        BenchRequest((path,), batches=(1,), threads=(1,), rounds=2, load_rounds=1, engines=True, engine_model=path)
    )
    assert [(row.name, row.added) for row in found.targets] == [("m.onnx", False), ("Toy", True)]
    assert found.measurements[1].difference == pytest.approx(0, abs=1e-6)


def test_adapters_of_foreign_interpreters_need_only_their_library_and_numpy(tmp_path: Path) -> None:
    """The worker's interpreter has the engine's library and numpy; the standard library is always there."""
    code = """
import importlib, importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("msgspec", "click", "onnx", "torch", "psutil", "rich", "safetensors", "filelock"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
for name in ("onnxruntime", "openvino", "mnn"):
    importlib.import_module(f"exporter.engines.{name}")
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_format_without_a_float64_evaluation_is_no_reference(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(engines, "FLOAT_RUNTIMES", {})
    with pytest.raises(UsageError, match=r"m.onnx: nothing computes onnx files in float64"):
        verify_parity([path], ParityOptions(against=path))
