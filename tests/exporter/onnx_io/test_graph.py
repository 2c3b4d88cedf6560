"""ONNX graphs: what they compute in, what of them is computed, and the same in another format."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import small_models
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from exporter.errors import ArtifactError
from exporter.onnx_io.graph import (
    cast_model,
    detect_precision,
    external_files,
    intermediate_names,
    signature_of,
    with_all_outputs,
)

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


def identity(path: Path, kind: int = FLOAT, **constants: np.ndarray[Any, Any]) -> Path:
    names = [*constants] or ["x"]
    nodes = [helper.make_node("Sum" if len(names) > 1 else "Identity", names, ["y"])]
    return small_models.save(path, nodes, [value("x", kind, ["n", 2])], [value("y", kind, ["n", 2])], constants)


@pytest.mark.parametrize(
    ("kind", "name"), [(FLOAT, "float32"), (DOUBLE, "float64"), (HALF, "float16"), (BFLOAT, "bfloat16")]
)
def test_arithmetic_of_a_signature(kind: int, name: str, tmp_path: Path) -> None:
    assert detect_precision(identity(tmp_path / "m.onnx", kind)) == name


def test_arithmetic_of_weights_casts_and_constants(tmp_path: Path) -> None:
    network = small_models.network(tmp_path / "m.onnx")
    assert detect_precision(network) == "float32"
    for kind, name in ((HALF, "float16"), (BFLOAT, "bfloat16")):
        assert detect_precision(small_models.narrowed(network, tmp_path / "low.onnx", kind)) == name
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", HALF, [2], [1.0, 2.0]))
    cast = helper.make_node("Cast", ["c"], ["d"], to=FLOAT)
    nodes = [constant, cast, helper.make_node("Add", ["x", "d"], ["y"])]
    small_models.save(tmp_path / "c.onnx", nodes, [value("x", FLOAT, ["n", 2])], [value("y", FLOAT, ["n", 2])], {})
    assert detect_precision(tmp_path / "c.onnx") == "float16"


@pytest.mark.parametrize("operator", ["DequantizeLinear", "MatMulInteger", "DynamicQuantizeLinear", "QLinearConv"])
def test_integer_arithmetic_by_its_operators(operator: str, tmp_path: Path) -> None:
    graph = helper.make_graph([helper.make_node(operator, ["x", "s"], ["y"])], "g", [value("x", FLOAT, [2])], [], [])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert detect_precision(tmp_path / "m.onnx") == "int8"


def branches(path: Path) -> Path:
    """`y = x > 0 ? x * 2 : x + c` by an If, whose branches hold a constant and read an outer value."""
    out = [value("r", FLOAT, None)]
    then = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["r"])],
        "then",
        [],
        out,
        [numpy_helper.from_array(np.array(2, np.float32), "two")],
    )
    constant = helper.make_node("Constant", [], ["c"], value_float=0.1)
    other = helper.make_graph([constant, helper.make_node("Add", ["x", "c"], ["r"])], "else", [], out)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=other),
    ]
    return small_models.save(
        path, nodes, [value("x", FLOAT, ["n", 2])], [value("y", FLOAT, ["n", 2])], {"zero": np.array(0, np.float32)}
    )


def test_in_float64_every_number_is_the_same_and_wider(tmp_path: Path) -> None:
    model = cast_model(onnx.load(branches(tmp_path / "m.onnx")), "float64")
    run = ReferenceEvaluator(model).run
    for x in (np.array([[1.0, 1e-9]]), np.array([[-1.0, 1e-9]])):
        answers: Any = run(None, {"x": x})
        y = answers[0]
        wanted = x * 2 if x.sum() > 0 else x + float(np.float32(0.1))
        assert y.dtype == np.float64
        assert np.array_equal(y, wanted)
    assert signature_of(model).outputs[0].dtype == "float64"


def test_casts_and_local_functions_are_converted_too(tmp_path: Path) -> None:
    body = [helper.make_node("Cast", ["a"], ["low"], to=HALF), helper.make_node("Cast", ["low"], ["b"], to=FLOAT)]
    function = helper.make_function("local", "Round", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    graph = helper.make_graph(
        [helper.make_node("Round", ["x"], ["y"], domain="local")],
        "g",
        [value("x", FLOAT, ["n", 2])],
        [value("y", FLOAT, ["n", 2])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    assert detect_precision(tmp_path / "m.onnx") == "float16"
    x = np.array([[1 / 3, 1e-12]])
    (y,) = ReferenceEvaluator(cast_model(onnx.load(tmp_path / "m.onnx"), "float64")).run(None, {"x": x})
    assert np.array_equal(y, x)


def test_what_depends_on_the_inputs_and_in_which_order(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0]),
        helper.make_node("Mul", ["k", "w"], ["kw"]),
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Add", ["x", "kw"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    path = small_models.save(
        tmp_path / "m.onnx",
        nodes,
        [value("x", FLOAT, ["n", 2])],
        [value("y", FLOAT, ["n", 2])],
        {"w": np.ones(2, np.float32)},
    )
    assert intermediate_names(onnx.load(path).graph) == ["a", "y"]
    shown = onnx.load_from_string(with_all_outputs(path))
    assert [output.name for output in shown.graph.output] == ["a", "y"]
    assert intermediate_names(onnx.load(branches(tmp_path / "b.onnx")).graph) == ["sum", "positive", "y"]


def test_external_data_is_found_by_what_the_file_says(tmp_path: Path) -> None:
    path = small_models.network(tmp_path / "s.onnx")
    assert external_files(path) == ()
    onnx.save(
        onnx.load(path), tmp_path / "m.onnx", save_as_external_data=True, location="anything.bin", size_threshold=0
    )
    assert external_files(tmp_path / "m.onnx") == (tmp_path / "anything.bin",)
    assert detect_precision(tmp_path / "m.onnx") == "float32"
    apart = onnx.load_from_string(with_all_outputs(tmp_path / "m.onnx", whole=False))
    assert {entry.value for entry in apart.graph.initializer[0].external_data if entry.key == "location"} == {
        "anything.bin"
    }
    assert not onnx.load_from_string(with_all_outputs(tmp_path / "m.onnx")).graph.initializer[0].external_data


def test_other_files_are_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    for read in (detect_precision, with_all_outputs, external_files):
        with pytest.raises(ArtifactError, match="m.onnx: cannot be loaded as ONNX: ") as caught:
            read(tmp_path / "m.onnx")
        assert "\n" not in str(caught.value)
