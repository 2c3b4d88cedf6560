"""Artifacts of the default opset in the oldest engines that are supported, each in a virtual environment of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from exporter.types import ExportRequest, OptimizeOptions, Target
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


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clips.npy"
    np.save(path, np.random.default_rng(0).standard_normal((2, 3, 16, 112, 112), dtype=np.float32))
    return path


@pytest.fixture(scope="module", params=["portable", "cpu"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: Target = request.param
    network = BuildOptions(base_channels=8, feature_dim=32, num_classes=5)
    folder, optimize = tmp_path_factory.mktemp(target), OptimizeOptions(target=target)
    result = export(ExportRequest(("onnx",), network, output_dir=folder, optimize=optimize, verify=False))
    return result.artifacts[0].path


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("packages", "script"),
    [
        pytest.param(("onnxruntime==1.15.1", "numpy<2"), ONNXRUNTIME, id="onnxruntime-1.15"),
        pytest.param(("openvino==2023.3.0", "numpy<2"), OPENVINO, id="openvino-2023.3"),
    ],
)
def test_old_engine_returns_the_same(
    packages: tuple[str, ...], script: str, artifact: Path, clips: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python, outputs = tmp_path / "venv" / "bin" / "python", tmp_path / "outputs.npy"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    subprocess.run([python, "-c", script, artifact, clips, outputs], check=True)
    expected = np.asarray(onnxruntime.InferenceSession(artifact).run(["logits"], {"clip": np.load(clips)})[0])
    assert np.abs(np.load(outputs) - expected).max() <= 1e-5 * np.abs(expected).max()
