"""The XML file of an OpenVINO model is read as data, within bounds; no OpenVINO is needed."""

from pathlib import Path

import pytest
from helpers.openvino_files import MODEL, save

from exporter.errors import ArtifactError
from exporter.openvino_ir import MAX_BYTES, read_ir
from models.specs import Signature, TensorSpec


def test_what_a_model_states(tmp_path: Path) -> None:
    model = read_ir(save(tmp_path, MODEL.replace("{weight}", "f32")))
    assert model.signature == Signature(
        (TensorSpec("x", "float32", ("batch", 3, "axis2")),), (TensorSpec("scores", "bfloat16", ("batch", 4)),)
    )
    assert (model.name, model.version, model.weights_path) == ("small", "11", tmp_path / "m.bin")
    assert model.operators == {"MatMul": 1}
    assert model.constants == (TensorSpec("w", "float32", (4, 3)),)
    assert model.rt_info == {("Runtime_version",): "2026", ("tool", "key"): 'a\n"b"'}


@pytest.mark.parametrize(
    ("weight", "precision"),
    [("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16"), ("u8", "int8"), ("i4", "int8")],
)
def test_the_precision_of_its_weights(weight: str, precision: str, tmp_path: Path) -> None:
    assert read_ir(save(tmp_path, MODEL.replace("{weight}", weight))).precision == precision


ENTITIES = """<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<net name="&b;"><layers/></net>"""


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (ENTITIES, "has a document type"),
        ("<net>" + "<a>" * 200, "nested more than"),
        ("<net><layers></net>", "not an OpenVINO model: mismatched tag"),
        ("<svg/>", "XML without layers"),
        ("", "not an OpenVINO model: no element found"),
        (MODEL.replace("<dim>3</dim>", "<dim>three</dim>"), "not an OpenVINO model: invalid literal"),
        (MODEL.replace("<dim>3</dim>", f"<dim>{'9' * 5000}</dim>"), "not an OpenVINO model: "),
        (MODEL.replace('shape="4, 3"', 'shape="4, x"'), "not an OpenVINO model: invalid literal"),
    ],
)
def test_hostile_and_damaged_files_are_refused_in_a_line(text: str, reported: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=reported) as caught:
        read_ir(save(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path / 'm.xml'}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path, "<net>")
    with path.open("r+b") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ArtifactError, match="too large"):
        read_ir(path)


def test_an_input_without_a_port(tmp_path: Path) -> None:
    text = '<net><layers><layer id="0" name="clip" type="Parameter"/></layers></net>'
    with pytest.raises(ArtifactError, match="its input clip has no shape"):
        read_ir(save(tmp_path, text)).signature  # noqa: B018 - a property that computes


def test_an_output_without_a_source(tmp_path: Path) -> None:
    model = read_ir(save(tmp_path, MODEL.replace('to-layer="3"', 'to-layer="5"')))
    with pytest.raises(ArtifactError, match="its output scores/sink is not connected"):
        _ = model.signature


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such model: .*m.xml"):
        read_ir(tmp_path / "m.xml")
