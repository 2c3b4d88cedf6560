"""Which artifact is the plain graph, and what peers are prepared with."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.graphs import graph, node, normal, positive, save
from helpers.manifests import MANIFEST
from helpers.small_models import convolution

from exporter.artifacts.loading import LoadedArtifact
from exporter.bench import engine_setup
from exporter.bench.engine_setup import EngineSetup, missing_reason
from exporter.bench.inputs import make_feeds
from exporter.bench.plan import is_plain
from exporter.bench.targets import ENGINE_SPECS, EngineSpec
from exporter.bench.types import BenchRequest
from exporter.onnx_io.signature import read_signature
from exporter.types import OptimizeRequest
from exporter.workflows.optimize import optimize
from models.builder import build
from models.options import BuildOptions
from models.progress import no_progress

MNN = next(spec for spec in ENGINE_SPECS if spec.name == "mnn")


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"target": "portable", "opset": 28, "external_data": False}, True),
        ({"target": "cpu", "opset": 28, "external_data": False}, False),
        ({"target": "portable", "weights_as": "int8"}, False),
    ],
)
def test_a_graph_is_plain_where_no_option_says_that_it_was_rewritten(options: dict[str, Any], plain: bool) -> None:
    described = replace(MANIFEST, options=options)
    assert is_plain(LoadedArtifact(Path("c3d.onnx"), "onnx", described, ())) is plain
    assert not is_plain(LoadedArtifact(Path("c3d.pt"), "torchscript", described, ()))


def test_a_model_without_a_manifest_is_plain_unless_optimize_changed_it(tmp_path: Path) -> None:
    weights = {"s": positive(3), "b": normal(3), "m": normal(3, seed=1), "v": positive(3, seed=1)}
    conv = [node("Conv", "x w", "x1", pads=[1] * 6), node("BatchNormalization", "x1 s b m v", "y")]
    shapes = {"x": ("n", 3, 4, 8, 8)}, {"y": ("n", 3, 4, 8, 8)}
    path = save(tmp_path / "m.onnx", graph(conv, *shapes, {**weights, "w": normal(3, 3, 3, 3, 3)}))
    assert is_plain(LoadedArtifact(path, "onnx", None, ()))
    optimize(OptimizeRequest(path, tmp_path / "fast.onnx"))
    assert not is_plain(LoadedArtifact(tmp_path / "fast.onnx", "onnx", None, ()))


def setup(folder: Path, **options: Any) -> EngineSetup:
    path = convolution(folder / "m.onnx")
    request = replace(BenchRequest((path,), engines=True), **options)
    signature = read_signature(path)
    return EngineSetup(
        request,
        LoadedArtifact(path, "onnx", None, ()),
        signature,
        make_feeds(path, signature, {}),
        path,
        folder,
        no_progress,
    )


def only(monkeypatch: pytest.MonkeyPatch, *kept: EngineSpec) -> None:
    monkeypatch.setattr(engine_setup, "ENGINE_SPECS", kept)
    monkeypatch.setattr(engine_setup, "LIBRARIES", {})


def interpreter(folder: Path, script: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    return path


def test_mnn_is_converted_under_its_own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, MNN)
    other = interpreter(
        tmp_path,
        "import json, sys\nplace = sys.argv[sys.argv.index('--MNNModel') + 1]\n"
        "open(place, 'w').write(json.dumps(sys.argv[2:]))\n",
    )
    (spec,), missing = setup(tmp_path, engine_python={"mnn": other}).prepare(plain_takes_part=True)
    assert missing == ()
    assert spec.interpreter == other
    asked = json.loads(Path(spec.job["path"]).read_text())
    assert asked[1:5] == ["-f", "ONNX", "--modelFile", str((tmp_path / "m.onnx").resolve())]
    assert (spec.job["inputs"], spec.job["outputs"]) == (["x"], ["y"])


def test_a_graph_that_mnn_refuses_is_told_with_its_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, MNN)
    other = interpreter(tmp_path, "print('converting')\nprint('unsupported op: Frobnicate')\n")
    taking_part, (missing,) = setup(tmp_path, engine_python={"mnn": other}).prepare(plain_takes_part=True)
    assert taking_part == ()
    assert missing.reason == "MNN's converter refuses the plain graph: unsupported op: Frobnicate"


def test_a_device_that_a_peer_does_not_know_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, MNN)
    taking_part, (missing,) = setup(tmp_path, device="cuda").prepare(plain_takes_part=True)
    assert (taking_part, missing.reason) == ((), "runs on cpu only")


def test_a_network_with_another_input_does_not_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, ENGINE_SPECS[0])
    model = build(BuildOptions(base_channels=8, feature_dim=32, num_classes=5))
    monkeypatch.setattr(engine_setup, "rebuild_network", lambda *_: (model, ()))
    _, (missing,) = setup(tmp_path, reference=BuildOptions(weights="c3d.pth")).prepare(plain_takes_part=True)
    assert missing.reason.startswith("m.onnx takes another input than C3D")


def test_a_library_is_looked_for_where_the_peer_would_run(tmp_path: Path) -> None:
    assert missing_reason(ENGINE_SPECS[0], Path("/nowhere")) is None  # torch is this project's own
    reported = missing_reason(MNN, interpreter(tmp_path, "import sys; sys.exit(1)"))
    assert reported is not None
    assert reported.startswith("not installed; pip install MNN")
    assert missing_reason(MNN, interpreter(tmp_path, "")) is None
    assert "cannot be started" in str(missing_reason(MNN, tmp_path / "none"))
