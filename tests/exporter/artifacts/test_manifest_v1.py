"""Manifests of version 1, as release 0.1.0 wrote them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from helpers.exported import NARROW

from exporter.artifacts.files import manifest_path, read_manifest, sha256_file
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import MANIFEST_VERSION
from exporter.errors import ArtifactError
from exporter.requests import ExportRequest
from exporter.types import ParityOptions
from exporter.workflows.export import export
from exporter.workflows.verify import verify_parity
from models.config import C3DConfig

DATA = Path(__file__).parents[2] / "data" / "manifest_v1.json"


@pytest.fixture
def old() -> dict[str, Any]:
    return json.loads(DATA.read_text("utf-8"))


def read(old: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(old))


def test_random_weights(old: dict[str, Any]) -> None:
    manifest = read(old)
    assert manifest.version == MANIFEST_VERSION
    assert manifest.network.architecture == "C3D"
    assert manifest.network.settings == C3DConfig().settings()
    assert manifest.network.description == C3DConfig().describe()
    assert manifest.network.setting_sources == {"pool5": "default"}
    assert (manifest.network.parameters, manifest.network.seed) == (old["parameters"], 0)
    assert manifest.network.state_sha256 == old["state_sha256"]
    assert manifest.checkpoint is None
    assert manifest.parity is None
    assert manifest.signature == C3DConfig().signature(("logits",), None)
    assert [entry.path for entry in manifest.files] == ["c3d.onnx"]


def test_a_checkpoint(old: dict[str, Any]) -> None:
    old["pool5_source"] = "layout"
    old["weights"] |= {"source": "file", "file": "c3d.pth", "sha256": "a" * 64, "container": "torch zip"}
    old["weights"] |= {"layout": "jfzhang95", "loaded": 20, "total": 22, "fresh": ["fc8.weight", "fc8.bias"]}
    old["weights"] |= {"aside": ["epoch"], "converted": ["float16"], "pool5": "symmetric", "path": "../c3d.pth"}
    manifest = read(old)
    checkpoint = manifest.checkpoint
    assert checkpoint is not None
    assert (checkpoint.file, checkpoint.sha256, checkpoint.layout) == ("c3d.pth", "a" * 64, "jfzhang95")
    assert (checkpoint.loaded, checkpoint.total, checkpoint.converted) == (20, 22, ("float16",))
    assert checkpoint.reinitialized == ("fc8.weight", "fc8.bias")
    assert checkpoint.ignored_keys == ("epoch",)
    assert (checkpoint.pool5, checkpoint.path, checkpoint.url) == ("symmetric", "../c3d.pth", None)
    assert manifest.network.setting_sources == {"pool5": "layout"}


def test_options_have_their_present_names(old: dict[str, Any]) -> None:
    old["options"] = {
        "tune": True,
        "prefer": "size",
        "weights_as": "fp16",
        "choices": "a",
        "form": "winograd",
        "opset": 28,
    }
    assert read(old).options == {
        "autotune": True,
        "optimize_for": "size",
        "weight_dtype": "fp16",
        "decisions": "a",
        "variant": "winograd",
        "opset": 28,
    }


def test_the_parity_record(old: dict[str, Any]) -> None:
    old["parity"] = {
        "passed": True,
        "runtime": "onnxruntime 1.32.0",
        "device": "cpu",
        "factor": 8.0,
        "worst_budget_share": 0.07,
    }
    parity = read(old).parity
    assert parity is not None
    assert (parity.passed, parity.engine, parity.device) == (True, "onnxruntime 1.32.0", "cpu")
    assert (parity.factor, parity.max_budget_used) == (8.0, 0.07)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", None),
        ("network", {"num_classes": 101, "pool5": "round", "batch_norm": False}),
        ("network", {"classes": 101}),
        ("weights", []),
        ("weights", {"source": "file"}),
        ("parameters", "many"),
        ("parity", {}),
        ("options", 3),
        ("signature", {}),
    ],
)
def test_a_damaged_manifest_is_refused(field: str, value: object, old: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="not a manifest of this tool"):
        read(old | {field: value})


def write_version_1(source: Path, folder: Path) -> Path:
    """Copy the narrow ONNX artifact with manifests of version 1 beside and inside it, as release 0.1.0 wrote them."""
    target = folder / "c3d.onnx"
    now = read_manifest(manifest_path(source))
    old = json.loads(DATA.read_text("utf-8"))
    old["state_sha256"], old["parameters"] = now.network.state_sha256, now.network.parameters
    old["network"] |= {"num_classes": 5, "base_channels": 2, "feature_dim": 32}  # a width that release 0.1.0 lacked
    old["signature"]["outputs"][0]["shape"] = ["batch", 5]
    model = onnx.load(source)
    for entry in model.metadata_props:
        entry.value = json.dumps(old | {"files": []})
    onnx.save(model, target)
    old["files"] = [{"path": target.name, "bytes": target.stat().st_size, "sha256": sha256_file(target)}]
    manifest_path(target).write_text(json.dumps(old), "utf-8")
    return target


@pytest.fixture(scope="module")
def published_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow network for clips of 16x112x112: version 1 knew no other size."""
    folder = tmp_path_factory.mktemp("published-size")
    model = replace(NARROW, base_channels=2, input_size=None)
    return export(ExportRequest(("onnx",), model, output_dir=folder, verify=False)).artifacts[0].path


@pytest.mark.parametrize("manifest", ["beside", "inside"])
def test_an_artifact_with_a_manifest_of_version_1(manifest: str, published_size: Path, tmp_path: Path) -> None:
    path = write_version_1(published_size, tmp_path)
    if manifest == "inside":
        manifest_path(path).unlink()
    (report,) = verify_parity([path], ParityOptions(input_types=("random",), localize=True))
    assert report.passed
    assert any("the one inside it is used" in note for note in report.notes) is (manifest == "inside")
