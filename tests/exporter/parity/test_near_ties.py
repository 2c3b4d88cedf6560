"""Networks that end in a decision, compared with another file: right ones pass, wrong ones fail."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import graphs, parity
from onnx import TensorProto, helper, numpy_helper

from exporter.engines.onnx_reference import FloatGraph
from exporter.engines.reference.operators import NodeError
from exporter.errors import ArtifactError
from exporter.onnx_io.signature import read_signature
from exporter.parity.discrete import NearTies
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.near_ties import RowTies, find_near_ties
from exporter.parity.sources import FileSource
from exporter.parity.tolerance import SNR_TOLERANCES, AllcloseTolerance
from exporter.results import ParityReport

WITHIN_A_TENTH = AllcloseTolerance(0, 0.1)


def verify(mine: Path, theirs: Path, **options: Any) -> ParityReport:
    return parity.verify(mine, theirs, input_types=parity.FEW, **options)


def segmentation(path: Path, weight: np.ndarray, *heads: tuple[str, int, list[onnx.NodeProto]]) -> Path:
    """Write a network of one convolution and heads that decide on its scores `s`."""
    conv = helper.make_node("Conv", ["x", "w"], ["s"], "conv", pads=[1, 1, 1, 1])
    nodes = [conv, *(made for _, _, nodes in heads for made in nodes)]
    outputs = [helper.make_tensor_value_info(name, dtype, None) for name, dtype, _ in heads]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 24, 24])]
    threshold = numpy_helper.from_array(np.array(0.25, np.float32), "t")
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w"), threshold])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


WEIGHT = np.random.default_rng(5).standard_normal((4, 3, 3, 3)).astype(np.float32)
HEADS = {
    "labels": ("y", TensorProto.INT64, [helper.make_node("ArgMax", ["s"], ["y"], axis=1, keepdims=0)]),
    "label floats": (
        "y",
        TensorProto.FLOAT,
        [
            helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
            helper.make_node("Cast", ["label"], ["y"], to=TensorProto.FLOAT),
        ],
    ),
    "mask": ("y", TensorProto.BOOL, [helper.make_node("Greater", ["s", "t"], ["y"])]),
    "rounded": ("y", TensorProto.FLOAT, [helper.make_node("Round", ["s"], ["y"])]),
    "integers": (
        "y",
        TensorProto.INT32,
        [helper.make_node("Floor", ["s"], ["f"]), helper.make_node("Cast", ["f"], ["y"], to=TensorProto.INT32)],
    ),
    "thresholded": (
        "y",
        TensorProto.FLOAT,
        [helper.make_node("Greater", ["s", "t"], ["m"]), helper.make_node("Where", ["m", "s", "t"], ["y"])],
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_decisions_pass_when_they_are_right_and_fail_when_the_weights_are_not(head: str, tmp_path: Path) -> None:
    theirs = segmentation(tmp_path / "theirs.onnx", WEIGHT, HEADS[head])
    same = verify(theirs, theirs)
    assert same.passed
    assert "near ties" in same.tolerance or head == "thresholded"
    wrong = segmentation(tmp_path / "wrong.onnx", WEIGHT * np.float32(1.2), HEADS[head])
    if head.startswith("label"):  # a scaled network has the same labels
        wrong = segmentation(tmp_path / "wrong.onnx", WEIGHT[::-1].copy(), HEADS[head])
    report = verify(wrong, theirs)
    assert {row.passed for row in report.comparisons if row.input in ("random", "uniform")} == {False}


def test_no_reference_is_left_after_a_comparison(tmp_path: Path) -> None:
    def references() -> int:
        gc.collect()
        return sum(isinstance(found, GoldenOutputs) for found in gc.get_objects())

    before = references()
    path = segmentation(tmp_path / "m.onnx", WEIGHT, HEADS["labels"])
    assert not verify(segmentation(tmp_path / "wrong.onnx", WEIGHT[::-1].copy(), HEADS["labels"]), path).passed
    assert references() == before


def test_labels_beside_large_numbers_and_behind_masked_classes_are_compared(tmp_path: Path) -> None:
    large, masked = np.array(1e7, np.float32), np.array([0, 0, 0, -1e9], np.float32).reshape(4, 1, 1)
    nodes = [
        helper.make_node("Constant", [], ["masked"], value=numpy_helper.from_array(masked)),
        helper.make_node("Add", ["s", "masked"], ["allowed"]),
        helper.make_node("ArgMax", ["allowed"], ["label"], axis=1, keepdims=1),
    ]
    beside = [
        helper.make_node("Cast", ["label"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["large"], value=numpy_helper.from_array(large)),
        helper.make_node("Mul", ["s", "large"], ["scores"]),
        helper.make_node("Concat", ["float", "scores"], ["y"], axis=1),
    ]
    other = [*nodes[:1], helper.make_node("Add", ["s2", "masked"], ["allowed"]), *nodes[2:]]  # other labels
    other.insert(0, helper.make_node("Neg", ["s"], ["s2"]))
    for name, dtype, heads in (("label", TensorProto.INT64, []), ("y", TensorProto.FLOAT, beside)):
        theirs = segmentation(tmp_path / "theirs.onnx", WEIGHT, (name, dtype, [*nodes, *heads]))
        wrong = segmentation(tmp_path / "wrong.onnx", WEIGHT, (name, dtype, [*other, *heads]))
        assert verify(theirs, theirs).passed
        report = verify(wrong, theirs)
        assert {row.passed for row in report.comparisons if row.input in ("random", "uniform")} == {False}


def test_labels_summed_in_another_order_differ_only_at_near_ties(tmp_path: Path) -> None:
    close = WEIGHT[:2].copy()
    close[1] = close[0] + np.float32(1.2e-5) * WEIGHT[2]  # scores so near that float32 decides otherwise now and then
    theirs = segmentation(tmp_path / "theirs.onnx", close, HEADS["labels"])
    model = onnx.load(theirs)
    parts = [close * (np.arange(3) == channel)[None, :, None, None].astype(np.float32) for channel in range(3)]
    convs = [
        helper.make_node("Conv", ["x", f"w{i}"], [f"s{i}"], f"conv{i}", pads=[1, 1, 1, 1]) for i in range(len(parts))
    ]
    argmax = model.graph.node[1]
    del model.graph.node[:], model.graph.initializer[0]
    model.graph.node.extend([*convs, helper.make_node("Sum", ["s2", "s0", "s1"], ["s"]), argmax])
    model.graph.initializer.extend(numpy_helper.from_array(part, f"w{i}") for i, part in enumerate(parts))
    onnx.save(model, mine := tmp_path / "mine.onnx")
    report = verify(mine, theirs, samples=3)
    assert report.passed
    assert any(row.equal is not None and row.equal < 1 for row in report.comparisons)
    assert any("near ties on" in note for note in report.notes)
    inverse = segmentation(tmp_path / "inverse.onnx", close[::-1].copy(), HEADS["labels"])
    assert not verify(inverse, theirs).passed


class Rounded:
    """`y`, the numbers of `x` rounded, and `f`, the numbers themselves."""

    def __init__(self, folder: Path) -> None:
        nodes = [graphs.node("Identity", "x", "f"), graphs.node("Round", "f", "y")]
        shape = ("n", 3)
        path = graphs.save(folder / "m.onnx", graphs.graph(nodes, {"x": shape}, {"y": shape, "f": shape}, {}))
        self.source = FileSource(path, "onnx", read_signature(path))

    def golden(self, *rows: list[float]) -> GoldenOutputs:
        names = [f"row {index}" for index in range(len(rows))]
        golden = GoldenOutputs(self.source, InputSet.of_rows({"x": np.array(rows, np.float32)}, names))
        golden.compute(range(len(rows)))
        return golden

    def ties(self, *rows: list[float]) -> tuple[NearTies, ...]:
        golden = self.golden(*rows)
        found = find_near_ties(golden, "y", range(len(rows)), WITHIN_A_TENTH)
        assert found is not None
        return tuple(ties for ties in found if ties is not None)


def uncertain(ties: NearTies) -> list[bool]:
    return ties.uncertain(3)[0].tolist()


@pytest.fixture
def rounded(tmp_path: Path) -> Rounded:
    return Rounded(tmp_path)


def test_each_row_of_each_set_of_inputs_is_followed_to_its_own_values(rounded: Rounded) -> None:
    first, second = rounded.ties([0.45, 1, 1], [1, 1.45, 1])
    (other,) = rounded.ties([1, 1, 1.45])
    for _ in range(2):
        assert (uncertain(first), uncertain(second)) == ([True, False, False], [False, True, False])
        assert uncertain(other) == [False, False, True]
    (again,) = rounded.ties([1, 1, 1.45])
    assert again.accepts(np.array([0, 2]), np.array([2.0, 2.0])).tolist() == [False, True]


def test_floats_that_are_decided_have_near_ties_where_errors_are_counted_one_by_one(rounded: Rounded) -> None:
    """In fewer bits than float32 the signal-to-noise ratio decides, of decided floats as of any others."""
    golden = rounded.golden([0.45, 1, 1])
    assert find_near_ties(golden, "y", [0], SNR_TOLERANCES["float16"]) is None
    assert find_near_ties(golden, "f", [0], WITHIN_A_TENTH) is None


def test_without_the_values_nothing_is_a_near_tie(rounded: Rounded, monkeypatch: pytest.MonkeyPatch) -> None:
    (ties,) = rounded.ties([0.45, 1, 1])

    def refuse(self: FloatGraph, feeds: dict[str, Any]) -> dict[str, Any]:
        raise ArtifactError("not computed here")

    monkeypatch.setattr(FloatGraph, "run", refuse)
    assert ties.accepts(np.array([0]), np.array([1.0])).tolist() == [False]
    assert [found.tolist() for found in ties.uncertain(3)] == [[False] * 3, [True] * 3]


def test_an_operator_that_cannot_be_followed_permits_nothing(rounded: Rounded, monkeypatch: pytest.MonkeyPatch) -> None:
    (ties,) = rounded.ties([0.45, 1, 1])
    assert isinstance(ties, RowTies)

    def refuse(*_: object) -> None:
        raise NodeError("no float64 kernel")

    for name in ("accepts", "bounds"):
        monkeypatch.setattr(type(ties.tree), name, refuse)
    assert ties.accepts(np.array([0]), np.array([1.0])).tolist() == [False]
    assert [found.tolist() for found in ties.uncertain(3)] == [[False] * 3, [True] * 3]
