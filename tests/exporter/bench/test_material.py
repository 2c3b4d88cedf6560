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

from exporter.bench import BenchRequest, peers
from exporter.bench.contestants import PEERS, Peer
from exporter.bench.feeds import feeds_of
from exporter.bench.material import is_plain
from exporter.bench.peers import Kitchen, absence
from exporter.formats.onnx import graph_signature, load_graph
from exporter.optimization import optimize
from exporter.parity.reference import Subject
from exporter.types import OptimizeRequest
from models.errors import quiet

MNN = next(peer for peer in PEERS if peer.name == "mnn")


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
    assert is_plain(Subject(Path("c3d.onnx"), "onnx", described, ())) is plain
    assert not is_plain(Subject(Path("c3d.pt"), "torchscript", described, ()))


def test_a_model_without_a_manifest_is_plain_unless_optimize_changed_it(tmp_path: Path) -> None:
    weights = {"s": positive(3), "b": normal(3), "m": normal(3, seed=1), "v": positive(3, seed=1)}
    conv = [node("Conv", "x w", "x1", pads=[1] * 6), node("BatchNormalization", "x1 s b m v", "y")]
    shapes = {"x": ("n", 3, 4, 8, 8)}, {"y": ("n", 3, 4, 8, 8)}
    path = save(tmp_path / "m.onnx", graph(conv, *shapes, {**weights, "w": normal(3, 3, 3, 3, 3)}))
    assert is_plain(Subject(path, "onnx", None, ()))
    optimize(OptimizeRequest(path, tmp_path / "fast.onnx"))
    assert not is_plain(Subject(tmp_path / "fast.onnx", "onnx", None, ()))


def kitchen(folder: Path, **options: Any) -> Kitchen:
    path = convolution(folder / "m.onnx")
    request = replace(BenchRequest((path,), peers=True), **options)
    signature = graph_signature(load_graph(path))
    return Kitchen(
        request, Subject(path, "onnx", None, ()), signature, feeds_of(path, signature, {}), path, folder, quiet
    )


def only(monkeypatch: pytest.MonkeyPatch, *kept: Peer) -> None:
    monkeypatch.setattr(peers, "PEERS", kept)
    monkeypatch.setattr(peers, "LIBRARIES", {})


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
    (peer,), missing = kitchen(tmp_path, peer_python={"mnn": other}).serve(plain_takes_part=True)
    assert missing == ()
    assert peer.interpreter == other
    asked = json.loads(Path(peer.job["path"]).read_text())
    assert asked[1:5] == ["-f", "ONNX", "--modelFile", str((tmp_path / "m.onnx").resolve())]
    assert (peer.job["inputs"], peer.job["outputs"]) == (["x"], ["y"])


def test_a_graph_that_mnn_refuses_is_told_with_its_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, MNN)
    other = interpreter(tmp_path, "print('converting')\nprint('unsupported op: Frobnicate')\n")
    taking_part, (missing,) = kitchen(tmp_path, peer_python={"mnn": other}).serve(plain_takes_part=True)
    assert taking_part == ()
    assert missing.reason == "MNN's converter refuses the plain graph: unsupported op: Frobnicate"


def test_a_device_that_a_peer_does_not_know_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, MNN)
    taking_part, (missing,) = kitchen(tmp_path, device="cuda").serve(plain_takes_part=True)
    assert (taking_part, missing.reason) == ((), "runs on cpu only")


def test_a_network_that_is_not_c3d_has_no_torch_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, PEERS[0])
    request = BenchRequest((Path("m.onnx"),), peers=True)
    named = replace(request.reference, weights=Path("c3d.pth"))
    _, (missing,) = kitchen(tmp_path, reference=named).serve(plain_takes_part=True)
    assert missing.reason == "m.onnx takes something else than C3D does"


def test_a_library_is_looked_for_where_the_peer_would_run(tmp_path: Path) -> None:
    assert absence(PEERS[0], Path("/nowhere")) is None  # torch is this project's own
    told = absence(MNN, interpreter(tmp_path, "import sys; sys.exit(1)"))
    assert told is not None
    assert told.startswith("not installed; pip install MNN")
    assert absence(MNN, interpreter(tmp_path, "")) is None
    assert "cannot be started" in str(absence(MNN, tmp_path / "none"))
