"""ONNX files as messages, with and without their weights."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import small_models
from helpers.graphs import graph, node
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import ArtifactError
from exporter.onnx_io.load import load_with_weights, load_without_weights
from exporter.onnx_io.stored import read_stored_onnx
from exporter.onnx_io.weights import take_weights

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


def test_large_weights_become_references_into_the_file(tmp_path: Path) -> None:
    path = small_models.network(tmp_path / "m.onnx")
    content = path.read_bytes()
    whole = {tensor.name: tensor for tensor in load_with_weights(path).graph.initializer}
    model = load_without_weights(path)
    assert list(model.graph.node) == list(onnx.load(path).graph.node)
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location == TensorProto.EXTERNAL:
            start, length = int(entries["offset"]), int(entries["length"])
            assert (entries["location"], content[start : start + length]) == ("m.onnx", whole[tensor.name].raw_data)
        else:
            assert tensor == whole[tensor.name]
            assert len(tensor.raw_data) < 1024
    assert {tensor.name for tensor in model.graph.initializer if tensor.external_data} == {"w2", "w3"}


def test_small_and_large_weights_in_any_order_and_fields_after_them(tmp_path: Path) -> None:
    weights = {
        f"w{number}": np.full(size, number, np.float32) for number, size in enumerate((3, 900, 3, 3, 256, 255, 900))
    }
    model = graph([node("Sum", " ".join(["x", "w0", "w2", "w3"]), "y")], {"x": ("n", 3)}, {"y": ("n", 3)}, weights)
    model.metadata_props.add(key="after", value="the graph")
    onnx.save(model, path := tmp_path / "m.onnx")
    loaded = load_without_weights(path)
    taken = {name: np.asarray(array) for name, array in take_weights(loaded, path)}
    assert {name: array.tolist() for name, array in taken.items()} == {n: w.tolist() for n, w in weights.items()}
    del model.graph.initializer[:]
    assert loaded == model
    sizes = {t.name: len(t.external_data) for t in load_without_weights(path).graph.initializer}
    assert {name for name, entries in sizes.items() if entries} == {"w1", "w4", "w6"}


@pytest.mark.parametrize("load", [load_without_weights, load_with_weights])
@pytest.mark.parametrize("content", [b"", b"\x08", b"not onnx at all", b"\x00" * 100])
def test_other_files_are_rejected(load: Callable[[Path], object], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.onnx: not a(n ONNX model| complete ONNX file)") as caught:
        load(tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match="no such model"):
        load(tmp_path / "absent.onnx")


@pytest.mark.parametrize(
    ("text", "field"),
    {
        "the_input": "NodeProto.input",
        "the_node": "NodeProto.name",
        "the_output": "NodeProto.output",
        "the_attribute": "AttributeProto.name",
        "the_weight": "NodeProto.input",
        "the_inner_graph": "GraphProto.name",
        "the_graph": "GraphProto.name",
        "the_size": "Dimension.dim_param",
        "the_producer": "ModelProto.producer_name",
        "the_key": "StringStringEntryProto.key",
        "the_value": "StringStringEntryProto.value",
        "the_result_of_a_function": "FunctionProto.output",
    }.items(),
)
@pytest.mark.parametrize("load", [load_with_weights, load_without_weights])
def test_a_text_that_is_not_utf_8_is_rejected(
    load: Callable[[Path], object], text: str, field: str, tmp_path: Path
) -> None:
    made = helper.make_node("Add", ["the_input", "the_weight"], ["the_output"], name="the_node", the_attribute=1)
    made.attribute.add(name="g", type=onnx.AttributeProto.GRAPH).g.name = "the_inner_graph"
    weight = numpy_helper.from_array(np.zeros(1, np.float32), "the_weight")
    inputs, outputs = [value("the_input", FLOAT, ["the_size"])], [value("the_output", FLOAT, [1])]
    graph = helper.make_graph([made], "the_graph", inputs, outputs, [weight])
    result = "the_result_of_a_function"
    inside = helper.make_node("Relu", ["x"], [result])
    function = helper.make_function("own", "f", ["x"], [result], [inside], [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, producer_name="the_producer", functions=[function])
    helper.set_model_props(model, {"the_key": "the_value"})
    content = model.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content)
    load(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(content.replace(text.encode(), b"\xff" * len(text)))
    with pytest.raises(ArtifactError, match=re.escape(f"not UTF-8 ({field})")):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize("load", [load_without_weights, load_with_weights, read_stored_onnx])
def test_a_web_page_in_place_of_a_model_is_called_one(load: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\n<!DOCTYPE html><html>404</html>")
    with pytest.raises(ArtifactError, match="not an ONNX file but a web page"):
        load(tmp_path / "m.onnx")


def test_external_data_outside_the_folder_is_rejected(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    held = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value("y", FLOAT, [4])], [tensor])
    (tmp_path / "m").mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "m" / "m.onnx").write_bytes(helper.make_model(held).SerializeToString())
    with pytest.raises(ArtifactError, match="its weights cannot be loaded"):
        load_with_weights(tmp_path / "m" / "m.onnx")
    assert load_with_weights(tmp_path / "m" / "m.onnx", external=False).graph.initializer[0] == tensor
