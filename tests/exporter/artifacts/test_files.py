"""Manifest files, and the check of an artifact's files against its manifest."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.manifests import MANIFEST

from exporter.artifacts.files import (
    check_files,
    check_integrity,
    data_files,
    file_entry,
    has_manifest,
    manifest_path,
    read_manifest,
)
from exporter.artifacts.manifest_fields import FileEntry
from exporter.errors import ArtifactError, BadInputError, IntegrityError
from exporter.types import FormatName
from models.class_names.reading import LINE_OVERHEAD, MAX_BYTES, check_names
from models.config import MAX_MANIFEST_BYTES, C3DConfig


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "c3d.onnx"
    path.write_bytes(b"model")
    return path


def test_integrity_of_an_unchanged_file(model: Path) -> None:
    (found,) = check_integrity(model, replace(MANIFEST, files=(file_entry(model),)))
    assert (found.bytes, found.sha256) == (5, hashlib.sha256(b"model").hexdigest())


def test_a_changed_byte_a_missing_file_and_a_renamed_one(model: Path) -> None:
    manifest = replace(MANIFEST, files=(file_entry(model),))
    model.write_bytes(b"modeL")
    with pytest.raises(IntegrityError, match="is not the file that c3d.onnx.json describes: 5 bytes"):
        check_integrity(model, manifest)
    model.unlink()
    with pytest.raises(IntegrityError, match="is missing or cannot be read"):
        check_integrity(model, manifest)
    with pytest.raises(ArtifactError, match="does not list other.onnx; was the file renamed.* of c3d.onnx"):
        check_integrity(model.with_name("other.onnx"), manifest)


def test_a_file_of_another_size_is_not_hashed(model: Path) -> None:
    manifest = replace(MANIFEST, files=(file_entry(model),))
    model.write_bytes(b"a longer model")
    (check,) = check_files(model, manifest)
    assert check.found is not None
    assert (check.found.bytes, check.found.sha256) == (14, None)
    assert check.fault.startswith(f"{model} is not the file that c3d.onnx.json describes: 14 bytes, not 5 bytes; ")


@pytest.mark.parametrize("name", ["../c3d.onnx", "/etc/passwd", "a/b", "..", "", "a\0b"])
def test_a_manifest_cannot_point_outside_its_folder(name: str, model: Path) -> None:
    with pytest.raises(ArtifactError, match="not a file of its own folder"):
        check_integrity(model, replace(MANIFEST, files=(file_entry(model), FileEntry(name, 1, "a"))))


def test_reading_a_manifest_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such manifest"):
        read_manifest(tmp_path / "none.json")
    (tmp_path / "large.json").touch()
    os.truncate(tmp_path / "large.json", MAX_MANIFEST_BYTES + 1)
    with pytest.raises(ArtifactError, match="too large"):
        read_manifest(tmp_path / "large.json")
    assert manifest_path(Path("a/c3d.pt")) == Path("a/c3d.pt.json")
    for without_name in (Path(), Path("/")):
        assert not has_manifest(without_name)


def test_the_most_class_names_leave_room_for_the_rest_of_a_manifest(tmp_path: Path) -> None:
    name_bytes = len('"c000000"') + LINE_OVERHEAD
    names = tuple(f"c{number:06}" for number in range(MAX_BYTES // name_bytes))
    assert check_names(names) == names
    with pytest.raises(BadInputError):
        check_names((*names, "one more"))
    config = C3DConfig(len(names))
    network = replace(MANIFEST.network, settings=config.settings())
    manifest = replace(MANIFEST, network=network, signature=config.signature(("logits",), None), class_names=names)
    path = tmp_path / "c3d.onnx.json"
    path.write_text(manifest.to_json())
    assert path.stat().st_size < 0.8 * MAX_MANIFEST_BYTES
    assert read_manifest(path) == manifest


def test_a_file_that_is_listed_twice(model: Path) -> None:
    entry = file_entry(model)
    with pytest.raises(ArtifactError, match=r"lists c3d.onnx twice"):
        check_integrity(model, replace(MANIFEST, files=(entry, entry)))


@pytest.mark.parametrize(("name", "files"), [("openvino", ["m.bin"]), ("torchscript", []), ("pt2", [])])
def test_the_files_with_its_weights(name: FormatName, files: list[str], tmp_path: Path) -> None:
    assert [path.name for path in data_files(tmp_path / "m.xml", name)] == files
