"""What a model file states, and the files that belong to it."""

from pathlib import Path

import pytest
from helpers import small_models
from helpers.manifests import MANIFEST
from helpers.openvino_files import MODEL, save

from exporter.artifacts.contents import data_files, stated_signature
from exporter.artifacts.loading import LoadedArtifact
from exporter.types import FormatName


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


@pytest.mark.parametrize(("name", "files"), [("openvino", ["m.bin"]), ("torchscript", []), ("pt2", [])])
def test_the_files_with_its_weights(name: FormatName, files: list[str], tmp_path: Path) -> None:
    assert [path.name for path in data_files(tmp_path / "m.xml", name)] == files
