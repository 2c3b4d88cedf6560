"""The precision that a graph computes in."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import small_models
from onnx import TensorProto, helper

from exporter.onnx_io.precision import detect_computed_precision, detect_precision

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


def identity(path: Path, kind: int = FLOAT, **constants: np.ndarray[Any, Any]) -> Path:
    names = [*constants] or ["x"]
    nodes = [helper.make_node("Sum" if len(names) > 1 else "Identity", names, ["y"])]
    return small_models.save(path, nodes, [value("x", kind, ["n", 2])], [value("y", kind, ["n", 2])], constants)


@pytest.mark.parametrize(
    ("kind", "name"), [(FLOAT, "float32"), (DOUBLE, "float64"), (HALF, "float16"), (BFLOAT, "bfloat16")]
)
def test_precision_of_the_signature(kind: int, name: str, tmp_path: Path) -> None:
    assert detect_precision(identity(tmp_path / "m.onnx", kind)) == name


def test_precision_of_weights_casts_and_constants(tmp_path: Path) -> None:
    network = small_models.network(tmp_path / "m.onnx")
    assert detect_precision(network) == "float32"
    for kind, name in ((HALF, "float16"), (BFLOAT, "bfloat16")):
        assert detect_precision(small_models.narrowed(network, tmp_path / "low.onnx", kind)) == name
    for shape, name in (([1, 2], "float16"), ([2], "float32")):
        constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", HALF, shape, [1.0, 2.0]))
        cast = helper.make_node("Cast", ["c"], ["d"], to=FLOAT)
        nodes = [constant, cast, helper.make_node("Add", ["x", "d"], ["y"])]
        small_models.save(tmp_path / "c.onnx", nodes, [value("x", FLOAT, ["n", 2])], [value("y", FLOAT, ["n", 2])], {})
        assert detect_precision(tmp_path / "c.onnx") == name


@pytest.mark.parametrize(("shape", "name"), [((2,), "float32"), ((2, 2), "int8")])
def test_a_bias_alone_is_not_the_precision_of_a_model(shape: tuple[int, ...], name: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("DequantizeLinear", ["b", "scale"], ["f"]), helper.make_node("Add", ["x", "f"], ["y"])]
    weights = {"b": np.zeros(shape, np.int8), "scale": np.array(1, np.float32)}
    ports = [value("x", FLOAT, [2, 2])], [value("y", FLOAT, [2, 2])]
    assert detect_precision(small_models.save(tmp_path / "m.onnx", nodes, *ports, weights)) == name


@pytest.mark.parametrize("operator", ["DequantizeLinear", "MatMulInteger", "DynamicQuantizeLinear", "QLinearConv"])
def test_quantised_operators_are_int8(operator: str, tmp_path: Path) -> None:
    node = helper.make_node(operator, ["x", "s"], ["y"])
    graph = helper.make_graph([node], "g", [value("x", FLOAT, [2])], [value("y", FLOAT, [2])], [])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert detect_precision(tmp_path / "m.onnx") == "int8"
    assert detect_computed_precision(tmp_path / "m.onnx") == "int8"
    graph.output[0].name = "x"  # the operator is left without a purpose
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert detect_precision(tmp_path / "m.onnx") == "float32"


def test_only_functions_that_are_called_count(tmp_path: Path) -> None:
    opset = helper.make_opsetid("", 17)
    inner = helper.make_function(
        "own", "Inner", ["a"], ["b"], [helper.make_node("Cast", ["a"], ["b"], to=HALF)], [opset]
    )
    calls = [helper.make_node("Inner", ["a"], ["b"], domain="own")]
    outer = helper.make_function("own", "Outer", ["a"], ["b"], calls, [opset, helper.make_opsetid("own", 1)])
    for called, name in (("Outer", "float16"), ("Relu", "float32")):
        node = helper.make_node(called, ["x"], ["y"], domain="own" if called == "Outer" else "")
        graph = helper.make_graph([node], "g", [value("x", FLOAT, [2])], [value("y", FLOAT, [2])], [])
        onnx.save(helper.make_model(graph, functions=[inner, outer]), tmp_path / "m.onnx")
        assert detect_precision(tmp_path / "m.onnx") == name


@pytest.mark.parametrize(
    ("shape", "operator", "name"), [((2, 2), "Mul", "int8"), ((2, 2), "Add", "float32"), ((2,), "Mul", "float32")]
)
def test_bytes_with_a_scale_are_int8(shape: tuple[int, ...], operator: str, name: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=FLOAT),
        helper.make_node(operator, ["f", "scale"], ["v"]),
        helper.make_node("Add", ["x", "v"], ["y"]),
    ]
    weights = {"w": np.ones(shape, np.int8), "scale": np.ones(2, np.float32)}
    ports = [value("x", FLOAT, [2, 2])], [value("y", FLOAT, [2, 2])]
    assert detect_precision(small_models.save(tmp_path / "m.onnx", nodes, *ports, weights)) == name


@pytest.mark.parametrize(
    ("weight", "to", "arithmetic", "name"),
    [
        (np.float16, FLOAT, FLOAT, "float32"),
        (np.float16, DOUBLE, DOUBLE, "float64"),
        (np.float32, HALF, HALF, "float16"),
        (np.float16, HALF, HALF, "float16"),
        (np.float32, BFLOAT, BFLOAT, "bfloat16"),
    ],
)
def test_what_a_model_computes_in_is_not_what_its_weights_are_stored_in(
    weight: type[np.floating[Any]], to: int, arithmetic: int, name: str, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Cast", ["w"], ["v"], to=to), helper.make_node("MatMul", ["x", "v"], ["y"])]
    ports = [value("x", arithmetic, [2, 2])], [value("y", arithmetic, [2, 2])]
    path = small_models.save(tmp_path / "m.onnx", nodes, *ports, {"w": np.ones((2, 2), weight)})
    assert detect_computed_precision(path) == name


def test_weights_in_int8_beside_float16_arithmetic_do_not_hide_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["v"]),
        helper.make_node("Cast", ["x"], ["h"], to=HALF),
        helper.make_node("Cast", ["h"], ["f"], to=FLOAT),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    weights = {"w": np.ones((2, 2), np.int8), "scale": np.array(1, np.float32)}
    ports = [value("x", FLOAT, [2, 2])], [value("y", FLOAT, [2, 2])]
    path = small_models.save(tmp_path / "m.onnx", nodes, *ports, weights)
    assert (detect_precision(path), detect_computed_precision(path)) == ("int8", "float16")


@pytest.mark.parametrize("operator", ["DequantizeLinear", "MatMulNBits"])
def test_only_weights_are_stored_in_int8(operator: str, tmp_path: Path) -> None:
    """What is cast to int8 from the inputs, without a QuantizeLinear, is computed in int8."""
    weights = {"w": np.ones((2, 2), np.int8), "scale": np.array(1, np.float32)}
    ports = [value("x", FLOAT, [2, 2])], [value("y", FLOAT, [2, 2])]
    if operator == "MatMulNBits":
        nodes = [helper.make_node(operator, ["x", "w", "scale"], ["y"], domain="com.microsoft")]
    else:
        nodes = [
            helper.make_node("Transpose", ["w"], ["t"]),
            helper.make_node(operator, ["t", "scale"], ["v"]),
            helper.make_node("MatMul", ["x", "v"], ["y"]),
        ]
    assert detect_computed_precision(small_models.save(tmp_path / "m.onnx", nodes, *ports, weights)) == "float32"
    nodes = [
        helper.make_node("Cast", ["x"], ["q"], to=TensorProto.INT8),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    weights["w"] = np.ones((2, 2), np.float32)
    assert detect_computed_precision(small_models.save(tmp_path / "q.onnx", nodes, *ports, weights)) == "int8"


@pytest.mark.parametrize("constant", [False, True])
def test_a_cast_to_the_type_of_a_number_is_a_cast(constant: bool, tmp_path: Path) -> None:
    like = helper.make_node("Constant", [], ["h"], value=helper.make_tensor("h", HALF, [], [1.0]))
    nodes = [
        *([like] if constant else []),
        helper.make_node("CastLike", ["x", "h"], ["a"]),
        helper.make_node("CastLike", ["a", "one"], ["y"]),
    ]
    weights: dict[str, np.ndarray[Any, Any]] = {"one": np.array(1, np.float32)}
    weights |= {} if constant else {"h": np.array(1, np.float16)}
    ports = [value("x", FLOAT, [2, 2])], [value("y", FLOAT, [2, 2])]
    path = small_models.save(tmp_path / "m.onnx", nodes, *ports, weights)
    assert {detect_precision(path), detect_computed_precision(path)} == {"float16"}


def test_a_constant_that_is_only_stored_in_float16_computes_in_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=helper.make_tensor("w", HALF, [2, 2], [1.0] * 4)),
        helper.make_node("Cast", ["w"], ["v"], to=FLOAT),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    ports = [value("x", FLOAT, [2, 2])], [value("y", FLOAT, [2, 2])]
    path = small_models.save(tmp_path / "m.onnx", nodes, *ports, {})
    assert (detect_precision(path), detect_computed_precision(path)) == ("float16", "float32")
