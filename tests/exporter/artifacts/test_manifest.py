"""The manifest's laws."""

import json
from dataclasses import replace

import pytest
from helpers.manifests import MANIFEST
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import (
    MANIFEST_VERSION,
    RAISED_LAYERS,
    FileEntry,
    NetworkRecord,
    ParityRecord,
    StructureRecord,
    raised_entry,
)
from exporter.artifacts.manifest_rules import is_as_written
from exporter.calibration_clips import PACKAGED_CLIPS
from exporter.errors import ArtifactError
from models.checkpoints.info import CheckpointInfo
from models.config import OUTPUTS, C3DConfig
from models.preprocessing.profiles import JFZHANG95, UNKNOWN
from models.specs import Signature, frames_input


@st.composite
def signatures(draw: st.DrawFn) -> tuple[Signature, C3DConfig]:
    """A signature and the network it belongs to."""
    classes = draw(st.integers(1, 100_000))
    names = draw(st.lists(st.sampled_from(OUTPUTS), min_size=1).map(tuple))
    config = C3DConfig(classes, draw(st.booleans()), draw(st.sampled_from(["symmetric", "right"])))
    return config.signature(names, draw(st.none() | st.integers(1, 64))), config


STRUCTURES = st.none() | st.builds(
    StructureRecord, st.none() | st.booleans(), st.none() | st.floats(0, 1), st.integers(0, 99), st.integers(0, 99)
)
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
    parity=st.none()
    | st.builds(ParityRecord, st.booleans(), st.text(), st.text(), st.just(8.0), st.floats(0, 1), STRUCTURES),
    tensors=st.none() | st.dictionaries(st.text(), st.just("0" * 64)),
)


SIGNATURE = MANIFEST.signature


@settings(max_examples=50)
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
            "1 file of an artifact of several files",
        ),
        (replace(MANIFEST, options={"precision": "fp8"}).to_json(), "precision 'fp8'"),
        (replace(MANIFEST, options={"precision": None}).to_json(), "precision None"),
        (replace(MANIFEST, options={"weight_dtype": "FP32"}).to_json(), "weight_dtype 'FP32'"),
        (replace(MANIFEST, options={"min_top1": -5}).to_json(), "min_top1 -5"),
        (replace(MANIFEST, options={"min_top1": 1.5}).to_json(), "min_top1 1.5"),
        (replace(MANIFEST, tensors={"w": "A" * 64}).to_json(), "tensors: 'w' has no SHA-256"),
        (replace(MANIFEST, signature=replace(SIGNATURE, inputs=())).to_json(), "tool: signature (?!.*; a )"),
        (replace(MANIFEST, signature=replace(SIGNATURE, outputs=())).to_json(), "tool: signature (?!.*; a )"),
        (MANIFEST.to_json().replace('"batch"', "0"), "tool: signature (?!.*; a )"),
        (replace(MANIFEST, options={"with_preprocess": True}).to_json(), "with_preprocess without preprocessing, or"),
        (replace(MANIFEST, class_names=("a", "b")).to_json(), "2 class names for logits"),
    ],
)
def test_the_error_of_a_damaged_manifest_names_the_field(text: str, reported: str) -> None:
    with pytest.raises(ArtifactError, match=reported):
        Manifest.from_json(text)


def test_class_names_are_one_for_each_number_of_an_output() -> None:
    manifest = replace(MANIFEST, class_names=tuple(f"class {index}" for index in range(101)))
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_with_preprocessing_inside_the_signature_takes_frames_and_the_clip_size_is_the_network_s() -> None:
    inside = replace(SIGNATURE, inputs=(frames_input(SIGNATURE.inputs[0]),))
    manifest = replace(MANIFEST, signature=inside, options={"with_preprocess": True, "clip_size": "16x112x112"})
    assert Manifest.from_json(manifest.to_json()) == manifest
    for other in (
        replace(manifest, options={"with_preprocess": True, "clip_size": "8x112x112"}),
        replace(manifest, signature=SIGNATURE),
    ):
        with pytest.raises(ArtifactError, match="C3D"):
            Manifest.from_json(other.to_json())


def test_options_are_read_as_what_they_state() -> None:
    stated = {"with_preprocess": True, "clip_size": "16x96x112", "precision": "bf16", "min_snr": 0.5, "min_top1": 0.9}
    manifest = replace(MANIFEST, options={**stated, "calibration": f"64 clips of {PACKAGED_CLIPS}"})
    assert (manifest.with_preprocess, manifest.clip_size, manifest.precision) == (True, (16, 96, 112), "bf16")
    assert (manifest.min_snr, manifest.min_top1, manifest.verified_on_packaged_clip) == (0.5, 0.9, True)
    assert (MANIFEST.with_preprocess, MANIFEST.clip_size, MANIFEST.precision) == (False, None, "fp32")
    assert (MANIFEST.min_snr, MANIFEST.min_top1, MANIFEST.verified_on_packaged_clip) == (None, None, False)
    assert replace(MANIFEST, options={"min_snr": 0, "min_top1": True, "clip_size": 16}).min_snr is None


def test_an_option_of_an_earlier_name_stays_as_it_was_written() -> None:
    text = replace(MANIFEST, options={"int8_form": "QLinearConv"}).to_json()  # now int8_variant
    manifest = Manifest.from_json(text)
    assert manifest.options == {"int8_form": "QLinearConv"}
    assert is_as_written(text.encode(), manifest)


def test_the_embedded_manifest_depends_neither_on_the_file_nor_on_its_folder() -> None:
    checkpoint = CheckpointInfo("c3d.pth", "a", "torch zip", "identity", 22, 22, 1)
    whole = replace(
        MANIFEST,
        files=(FileEntry("c3d.onnx", 1, "a"),),
        parity=ParityRecord(True, "r", "cpu", 8, 0.1),
        checkpoint=replace(checkpoint, path="../c3d.pth"),
        tensors={"w": "0" * 64},
    )
    assert whole.embedded() == replace(MANIFEST, checkpoint=checkpoint)


def test_a_field_of_a_later_release_is_left_out_where_it_has_no_value() -> None:
    assert not {"tensors", "class_names"} & json.loads(MANIFEST.to_json()).keys()
    recorded = replace(MANIFEST, parity=ParityRecord(True, "r", "cpu", 8, 0.1))
    text = recorded.to_json()
    assert "structure" not in json.loads(text)["parity"]
    read = Manifest.from_json(text)
    assert read == recorded
    assert is_as_written(text.encode(), read)


@given(st.lists(st.tuples(st.text(min_size=1), st.integers(-99, 999)), unique_by=lambda row: row[0]))
def test_raised_layers_are_read_as_they_were_recorded(rows: list[tuple[str, int]]) -> None:
    entries = [raised_entry(layer, "fp16", tenths / 10) for layer, tenths in rows]
    manifest = replace(MANIFEST, options={RAISED_LAYERS: entries})
    assert manifest.raised_layers == {layer: ("fp16", tenths / 10) for layer, tenths in rows}


def test_a_layer_that_was_not_finite_before_it_was_raised() -> None:
    manifest = replace(MANIFEST, options={RAISED_LAYERS: [raised_entry("fc6: a", "fp32", float("inf"))]})
    assert manifest.raised_layers == {"fc6: a": ("fp32", float("inf"))}
