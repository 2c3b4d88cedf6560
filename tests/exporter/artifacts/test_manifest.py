"""The manifest's laws, and the check of files against it."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.manifests import MANIFEST
from hypothesis import given
from hypothesis import strategies as st

from exporter.artifacts.manifest import (
    MANIFEST_VERSION,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    NetworkRecord,
    ParityRecord,
    check_integrity,
    file_entry,
    manifest_path,
    read_manifest,
)
from exporter.errors import ArtifactError, BadInputError, IntegrityError
from models.checkpoints.info import CheckpointInfo
from models.class_names.reading import LINE_OVERHEAD, MAX_BYTES, check_names
from models.config import OUTPUTS, C3DConfig
from models.preprocessing import JFZHANG95, UNKNOWN
from models.specs import Signature


@st.composite
def signatures(draw: st.DrawFn) -> tuple[Signature, C3DConfig]:
    """A signature and the network it belongs to."""
    classes = draw(st.integers(1, 100_000))
    names = draw(st.lists(st.sampled_from(OUTPUTS), min_size=1).map(tuple))
    config = C3DConfig(classes, draw(st.booleans()), draw(st.sampled_from(["symmetric", "right"])))
    return config.signature(names, draw(st.none() | st.integers(1, 64))), config


manifests = st.builds(
    Manifest,
    version=st.just(MANIFEST_VERSION),
    producer=st.text(),
    name=st.text(min_size=1),
    format=st.sampled_from(["onnx", "torchscript"]),
    network=st.builds(
        NetworkRecord,
        architecture=st.just("C3D"),
        description=st.text(),
        settings=st.just(C3DConfig().settings()),
        setting_sources=st.dictionaries(st.text(), st.sampled_from(["default", "layout", "option"])),
        parameters=st.integers(0, 2**50),
        state_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
        seed=st.integers(0, 2**60),
    ),
    signature=st.just(MANIFEST.signature),
    checkpoint=st.none()
    | st.builds(
        CheckpointInfo,
        *[st.text()] * 4,
        *[st.integers(0, 2**50)] * 3,
        reinitialized=st.lists(st.text()).map(tuple),
        path=st.none() | st.text(),
    ),
    preprocessing=st.sampled_from([None, UNKNOWN, JFZHANG95]),
    options=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(0, 99) | st.text()),
    versions=st.dictionaries(st.text(), st.text()),
    files=st.lists(st.builds(FileEntry, st.text(), st.integers(0, 2**50), st.text()), max_size=1).map(tuple),
    parity=st.none() | st.builds(ParityRecord, st.booleans(), st.text(), st.text(), st.just(8.0), st.floats(0, 1)),
)


@given(manifests, signatures())
def test_json_round_trip(manifest: Manifest, pair: tuple[Signature, C3DConfig]) -> None:
    network = replace(manifest.network, settings=pair[1].settings())
    manifest = replace(manifest, signature=pair[0], network=network)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", "not a manifest"),
        ("{", "not a manifest"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `version`"),
        (MANIFEST.to_json().replace('"parameters": 1', '"parameters": "x"'), r"\$.network.parameters"),
        (
            MANIFEST.to_json().replace('"version": 2', '"version": 3'),
            "manifest version 3; this release reads versions 1 and 2",
        ),
        ("[" * 100_000, "not a manifest"),
        (MANIFEST.to_json().replace('"num_classes": 101', '"num_classes": 0'), "no output logits"),
        (MANIFEST.to_json().replace('"seed": 0', f'"seed": {2**63}'), "seed 9223372036854775808"),
        (MANIFEST.to_json().replace("171", "100"), r"crop \(8, 30\) of \(100, 128\)"),
        (MANIFEST.to_json().replace('"logits"', '"scores"'), "no output scores"),
        (
            replace(MANIFEST, options={"external_data": True}, files=(FileEntry("a", 1, "b"),)).to_json(),
            "external data",
        ),
    ],
)
def test_the_error_of_a_damaged_manifest_names_the_field(text: str, reported: str) -> None:
    with pytest.raises(ArtifactError, match=reported):
        Manifest.from_json(text)


def test_the_embedded_manifest_depends_neither_on_the_file_nor_on_its_folder() -> None:
    checkpoint = CheckpointInfo("c3d.pth", "a", "torch zip", "identity", 22, 22, 1)
    whole = replace(
        MANIFEST,
        files=(FileEntry("c3d.onnx", 1, "a"),),
        parity=ParityRecord(True, "r", "cpu", 8, 0.1),
        checkpoint=replace(checkpoint, path="../c3d.pth"),
    )
    assert whole.embedded() == replace(MANIFEST, checkpoint=checkpoint)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "c3d.onnx"
    path.write_bytes(b"model")
    return path


def test_integrity_of_an_unchanged_file(model: Path) -> None:
    check_integrity(model, replace(MANIFEST, files=(file_entry(model),)))


def test_a_changed_byte_a_missing_file_and_a_renamed_one(model: Path) -> None:
    manifest = replace(MANIFEST, files=(file_entry(model),))
    model.write_bytes(b"modeL")
    with pytest.raises(IntegrityError, match="is not the file that c3d.onnx.json describes: 5 bytes"):
        check_integrity(model, manifest)
    model.unlink()
    with pytest.raises(IntegrityError, match="is missing or cannot be read"):
        check_integrity(model, manifest)
    with pytest.raises(ArtifactError, match="does not list other.onnx; was the file renamed"):
        check_integrity(model.with_name("other.onnx"), manifest)


@pytest.mark.parametrize("name", ["../c3d.onnx", "/etc/passwd", "a/b", "..", "", "a\0b"])
def test_a_manifest_cannot_point_outside_its_folder(name: str, model: Path) -> None:
    with pytest.raises(ArtifactError, match="not a file of its own folder"):
        check_integrity(model, replace(MANIFEST, files=(file_entry(model), FileEntry(name, 1, "a"))))


def test_reading_a_manifest_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        read_manifest(tmp_path / "none.json")
    (tmp_path / "large.json").write_bytes(b" " * (1 << 21))
    with pytest.raises(ArtifactError, match="too large"):
        read_manifest(tmp_path / "large.json")
    assert manifest_path(Path("a/c3d.pt")) == Path("a/c3d.pt.json")


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
