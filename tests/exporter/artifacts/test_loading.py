"""A model file, its manifest, and how one is checked against the other."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import small_models
from helpers.manifests import MANIFEST
from helpers.openvino_files import MODEL, save

from exporter.artifacts.files import file_entry
from exporter.artifacts.loading import LoadedArtifact, stated_signature
from exporter.errors import ArtifactError, IntegrityError
from exporter.formats import load_artifact
from exporter.types import FormatName
from exporter.workflows.export import ExportResult


@pytest.fixture(scope="module")
def onnx_and_torchscript(narrow_artifacts: ExportResult) -> tuple[Path, Path]:
    """An ONNX and a TorchScript file, each with its manifest beside it."""
    first, second = narrow_artifacts.artifacts
    return first.path, second.path


def test_a_file_beside_its_manifest_and_a_lone_one(onnx_and_torchscript: tuple[Path, Path], tmp_path: Path) -> None:
    onnx, torchscript = onnx_and_torchscript
    beside = load_artifact(onnx)
    assert (beside.format, beside.notes) == ("onnx", ())
    assert beside.manifest is not None
    os.link(onnx, tmp_path / "c3d.onnx")
    lone = load_artifact(tmp_path / "c3d.onnx")
    assert lone.manifest == beside.manifest.embedded()
    assert "not checked against a hash" in lone.notes[0]
    (tmp_path / "c3d.onnx.json").write_bytes(torchscript.with_name("c3d.pt.json").read_bytes())
    with pytest.raises(ArtifactError, match=r"does not list c3d.onnx"):
        load_artifact(tmp_path / "c3d.onnx")


def test_a_manifest_beside_that_contradicts_the_one_inside(
    onnx_and_torchscript: tuple[Path, Path], tmp_path: Path
) -> None:
    onnx, _ = onnx_and_torchscript
    os.link(onnx, tmp_path / "c3d.onnx")
    text = onnx.with_name("c3d.onnx.json").read_text()
    (tmp_path / "c3d.onnx.json").write_text(text.replace('"channels": "RGB"', '"channels": "BGR"'))
    with pytest.raises(IntegrityError, match="differs from the manifest inside"):
        load_artifact(tmp_path / "c3d.onnx")


def test_a_changed_file_is_not_even_loaded(tmp_path: Path) -> None:
    path = tmp_path / "c3d.pt"
    path.write_bytes(b"evil code")
    manifest = replace(MANIFEST, format="torchscript", files=(file_entry(path),))
    (tmp_path / "c3d.pt.json").write_text(manifest.to_json())
    path.write_bytes(b"EVIL code")
    with pytest.raises(IntegrityError, match="is not the file that c3d.pt.json describes"):
        load_artifact(path)


@pytest.mark.parametrize("name", ["none.onnx", "folder", "c3d.bin"])
def test_what_is_not_an_artifact(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "c3d.bin").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"no such file|not a file|whose name ends in .onnx, .pt"):
        load_artifact(tmp_path / name)


def test_the_manifest_states_the_signature(tmp_path: Path) -> None:
    assert stated_signature(LoadedArtifact(tmp_path / "m.pt", "torchscript", MANIFEST, ())) == MANIFEST.signature


def test_without_a_manifest_the_graph_does(tmp_path: Path) -> None:
    onnx = small_models.network(tmp_path / "m.onnx")
    openvino = save(tmp_path, MODEL.replace("{weight}", "f32"))
    cases: list[tuple[Path, FormatName, list[str]]] = [(onnx, "onnx", ["x"]), (openvino, "openvino", ["x"])]
    for path, name, inputs in cases:
        found = stated_signature(LoadedArtifact(path, name, None, ()))
        assert found is not None
        assert [value.name for value in found.inputs] == inputs
    assert stated_signature(LoadedArtifact(tmp_path / "m.pt", "torchscript", None, ())) is None


@pytest.mark.parametrize(("name", "kind"), [("a b.pth", "PyTorch"), ("c3d.pt", "PyTorch"), ("c3d.npz", "npz")])
def test_a_checkpoint_is_told_with_the_command_that_exports_it(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if kind == "npz":
        np.savez(path, a=np.zeros(1, np.float32))
    else:
        torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ArtifactError) as caught:
        load_artifact(path, takes=("onnx", "openvino"))
    assert f"a checkpoint ({kind}" in str(caught.value)
    assert "which ends in .onnx or .xml;" in str(caught.value)
    assert shlex.split(str(caught.value))[-5:] == ["c3d-export", "--format", "onnx", "--weights", str(path)]


def test_another_file_is_told_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"\0\0\0 ftypisom")
    with pytest.raises(ArtifactError, match=r"ends in \.onnx; "):
        load_artifact(tmp_path / "video.mp4", takes=("onnx",))


def test_a_manifest_without_its_model_names_that(tmp_path: Path) -> None:
    (tmp_path / "c3d.onnx.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"no such file: .*c3d\.onnx;"):
        load_artifact(tmp_path / "c3d.onnx.json")
