"""What the added engines run, and why one cannot take part."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.small_models import convolution

from exporter import engines
from exporter.artifacts.loading import LoadedArtifact
from exporter.bench import engine_setup
from exporter.bench.engine_setup import EngineSetup, missing_reason
from exporter.bench.inputs import make_feeds
from exporter.bench.targets import THIS_PYTHON
from exporter.bench.types import BenchRequest
from exporter.engines import ENGINES
from exporter.onnx_io.signature import read_signature
from exporter.types import InputOptions
from models.builder import build
from models.options import BuildOptions
from models.progress import no_progress


def setup(folder: Path, **options: Any) -> EngineSetup:
    path = convolution(folder / "m.onnx")
    request = replace(BenchRequest((path,), engines=True), **options)
    signature = read_signature(path)
    artifact = LoadedArtifact(path, "onnx", None, ())
    return EngineSetup(
        request, artifact, signature, make_feeds(path, "onnx", [signature], InputOptions()), path, folder, no_progress
    )


def only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(engines, "ENGINES", {name: ENGINES[name]})


def interpreter(folder: Path, convert: str) -> Path:
    """Write an interpreter that has every library, whose MNN converter is `convert`."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport json, sys\nif 'find_spec' not in sys.argv[2]:\n    {convert}\n")
    path.chmod(0o755)
    return path


def test_mnn_is_converted_under_its_own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "mnn")
    write = "open(sys.argv[sys.argv.index('--MNNModel') + 1], 'w').write(json.dumps(sys.argv[3:]))"
    other = interpreter(tmp_path, write)
    (target,), missing = setup(tmp_path, engine_python={"mnn": other}).prepare(plain_takes_part=True)
    assert (missing, target.interpreter) == ((), other)
    assert json.loads(target.path.read_text())[:4] == [
        "-f",
        "ONNX",
        "--modelFile",
        str((tmp_path / "m.onnx").resolve()),
    ]
    assert (target.inputs, target.outputs) == (("x",), ("y",))


def test_a_graph_that_mnn_rejects_is_reported_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "mnn")
    other = interpreter(tmp_path, "print('converting'); print('unsupported op: Frobnicate')")
    targets, (missing,) = setup(tmp_path, engine_python={"mnn": other}).prepare(plain_takes_part=True)
    assert targets == ()
    assert missing.reason == "MNN's converter rejects the graph: unsupported op: Frobnicate"


def test_a_device_that_an_engine_cannot_use_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "mnn")
    targets, (missing,) = setup(tmp_path, device="cuda").prepare(plain_takes_part=True)
    assert (targets, missing.reason) == ((), "runs on cpu only")


def test_a_network_with_another_input_does_not_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "torch")
    model = build(BuildOptions(base_channels=8, feature_dim=32, num_classes=5))
    monkeypatch.setattr(engine_setup, "rebuild_network", lambda *_: (model, ()))
    _, (missing,) = setup(tmp_path, reference=BuildOptions(weights="c3d.pth")).prepare(plain_takes_part=True)
    assert missing.reason.startswith("m.onnx takes another input than C3D")


def test_a_library_is_looked_for_where_the_engine_would_run(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text(f"#!{sys.executable} -I\nimport sys\nexec(sys.argv[2])\n")
    other.chmod(0o755)
    absent = replace(ENGINES["mnn"], library="no_such_library", extra="")
    for python, place in ((THIS_PYTHON, ""), (other, f" in {other}")):
        assert missing_reason(replace(ENGINES["mnn"], library="json"), python) is None
        assert missing_reason(absent, python) == f"not installed{place}; pip install no_such_library"
    assert "cannot be started" in str(missing_reason(absent, tmp_path / "none"))


def test_an_interpreter_that_is_too_old_is_reported(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text(f"#!{sys.executable}\nimport sys\nsys.version_info = (3, 9, 1)\nexec(sys.argv[2])\n")
    old.chmod(0o755)
    assert missing_reason(ENGINES["mnn"], old) == f"{old} is older than Python 3.11, which bench needs"
