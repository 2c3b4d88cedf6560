"""Sequences and optional values are drawn, run and compared item by item."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import node
from onnx import TensorProto, TypeProto, helper

from exporter.errors import UsageError
from exporter.parity.input_plan import make_plans
from exporter.parity.sequences import unpack
from exporter.results import ParityReport
from exporter.types import InputOptions, ParityOptions
from exporter.workflows.verify import verify_parity
from models.specs import Signature, TensorSpec

ITEM = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", 3])
SEQUENCE = helper.make_sequence_type_proto(ITEM)


def save(path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, TypeProto], output: TypeProto) -> Path:
    ports = [helper.make_value_info(name, kind) for name, kind in inputs.items()]
    made = helper.make_graph(nodes, "g", ports, [helper.make_value_info("y", output)])
    made.initializer.append(helper.make_tensor("one", TensorProto.INT64, [], [1]))
    made.initializer.append(helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]))
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def joined(path: Path, *order: str, shape: str = "") -> Path:
    """Write a model of a sequence `x` of two items `a`, `b`: it returns those that `order` names, `b` doubled."""
    zero = node("Constant", "", "zero", value_int=0)
    parts = [node("SequenceAt", "x zero", "a"), node("SequenceAt", "x one", "c"), node("Mul", "c two", "b")]
    reshaped = [node("Flatten", "a", "flat", axis=0)] if shape == "flat" else []
    names = " ".join("flat" if name == "a" and reshaped else name for name in order)
    return save(path, [zero, *parts, *reshaped, node("SequenceConstruct", names, "y")], {"x": SEQUENCE}, SEQUENCE)


def check(mine: Path, theirs: Path, options: InputOptions | None = None) -> ParityReport:
    (report,) = verify_parity([mine], ParityOptions(against=theirs, inputs=options or InputOptions()))
    return report


def test_each_item_has_a_budget_of_its_own(tmp_path: Path) -> None:
    path = joined(tmp_path / "m.onnx", "a", "b")
    report = check(path, path)
    assert report.passed
    assert {row.output for row in report.comparisons} == {"y", "y (shapes)"}
    assert {row.batch for row in report.comparisons if row.output == "y"} == {2}
    assert {row.input for row in report.comparisons} > {"random", "zeros"}


@pytest.mark.parametrize("order", [("b", "a"), ("a", "a"), ("a",), ("a", "b", "a")])
def test_other_items_fail(order: tuple[str, ...], tmp_path: Path) -> None:
    assert not check(joined(tmp_path / "a.onnx", *order), joined(tmp_path / "b.onnx", "a", "b")).passed


def test_the_same_numbers_in_another_shape_fail(tmp_path: Path) -> None:
    report = check(joined(tmp_path / "a.onnx", "a", "b", shape="flat"), joined(tmp_path / "b.onnx", "a", "b"))
    assert not report.passed
    assert {row.output for row in report.comparisons if not row.passed} == {"y (shapes)"}


def test_an_item_s_size_is_given_by_its_name(tmp_path: Path) -> None:
    path = joined(tmp_path / "m.onnx", "a", "b")
    notes = " ".join(check(path, path, InputOptions(shapes={"x[0]": (7, 3)})).notes)
    assert "x[1] float32 (n, 3)" not in notes  # the size has a name, so it is the other item's too
    with pytest.raises(UsageError, match=r"x\[0\], x\[1\]"):
        check(path, path, InputOptions(shapes={"x": (7, 3)}))


def test_an_optional_sequence_is_drawn_with_a_value(tmp_path: Path) -> None:
    kind = helper.make_optional_type_proto(SEQUENCE)
    path = save(tmp_path / "m.onnx", [node("Identity", "x", "y")], {"x": kind}, kind)
    report = check(path, path)
    assert report.passed
    assert {row.batch for row in report.comparisons if row.output == "y"} == {2}


def test_an_output_that_is_absent_is_not_one_that_is_there(tmp_path: Path) -> None:
    kind = helper.make_optional_type_proto(ITEM)
    absent = save(tmp_path / "a.onnx", [node("Optional", "", "y", type=ITEM)], {"x": ITEM}, kind)
    there = save(tmp_path / "b.onnx", [node("Optional", "x", "y")], {"x": ITEM}, kind)
    assert check(there, there).passed
    assert check(absent, absent).passed
    assert not check(there, absent).passed
    assert not check(absent, there).passed


def test_items_of_different_sizes_are_filled_up() -> None:
    found = unpack("y", [np.ones((2, 2)), np.zeros(3)])
    assert found["y"].shape == (2, 4, 1)
    assert np.isnan(found["y"][1, 3, 0])
    assert found["y (shapes)"].tolist() == [[2, 2, 2, 2, 1, 3]]


def test_a_sequence_of_sequences_is_refused_with_what_helps() -> None:
    signature = Signature((TensorSpec("x", "seq(seq(float32))", (2,)),), ())
    with pytest.raises(UsageError, match=r"x seq\(seq\(float32\)\): only tensors.*--no-verify"):
        next(make_plans(signature, InputOptions(), batched=False))
