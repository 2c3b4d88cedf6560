"""Artifacts of the default opset in older engines, each of them in a virtual environment of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from exporter.requests import ExportRequest
from exporter.types import ComputePrecision, OptimizeOptions, PrecisionOptions, Target
from exporter.workflows.export import export
from models.options import BuildOptions

ONNXRUNTIME = """
import sys, numpy, onnxruntime
model, clips, outputs = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
numpy.save(outputs, session.run(["logits"], {"clip": numpy.load(clips)})[0])
"""
OPENVINO = """
import sys, numpy, openvino
model, clips, outputs = sys.argv[1:]
core = openvino.Core()
compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
numpy.save(outputs, compiled(numpy.load(clips))["logits"])
"""
SCRIPTS = {"onnxruntime": ONNXRUNTIME, "openvino": OPENVINO}
ENGINES = ("onnxruntime==1.15.1", "onnxruntime==1.20.1", "openvino==2023.3.0", "openvino==2024.6.0")
"""The oldest version of each that is supported, and one between it and today's."""

ARTIFACTS: dict[str, tuple[Target, ComputePrecision, float]] = {
    "portable": ("portable", "fp32", 1e-5),
    "cpu": ("cpu", "fp32", 1e-5),
    "fp16": ("portable", "fp16", 1e-3),
    "int8": ("portable", "int8", 1e-1),
}
"""{name: (target, precision, difference from today's onnxruntime that is allowed, of the largest value)}. Engines round
float16 and int8 sums each in their own way."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clips.npy"
    # as large as the clips that int8 is calibrated on
    np.save(path, 50 * np.random.default_rng(0).standard_normal((2, 3, 16, 112, 112), dtype=np.float32))
    return path


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    network = BuildOptions(base_channels=8, feature_dim=32, num_classes=5)
    paths: dict[str, Path] = {}
    for name, (target, precision, _) in ARTIFACTS.items():
        request = ExportRequest(
            ("onnx",),
            network,
            output_dir=tmp_path_factory.mktemp(name),
            optimize=OptimizeOptions(target=target),
            precision=PrecisionOptions(precision, min_snr=None if precision == "fp32" else 10.0),
            verify=False,
        )
        paths[name] = export(request).artifacts[0].path
    return paths


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return an interpreter that has the engine, and the script that runs a model in it."""
    package: str = request.param
    folder = tmp_path_factory.mktemp("engine")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    # the older ones were compiled for NumPy 1
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", package, "numpy<2"], check=True)
    return python, SCRIPTS[package.partition("==")[0]]


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_older_engine_returns_the_same(
    engine: tuple[Path, str], name: str, artifacts: dict[str, Path], clips: Path, tmp_path: Path
) -> None:
    python, script = engine
    outputs = tmp_path / "outputs.npy"
    subprocess.run([python, "-c", script, artifacts[name], clips, outputs], check=True)
    expected = np.asarray(onnxruntime.InferenceSession(artifacts[name]).run(["logits"], {"clip": np.load(clips)})[0])
    difference = np.abs(np.load(outputs) - expected).max() / np.abs(expected).max()
    assert difference <= ARTIFACTS[name][2]
