"""Faults as small as the rounding of few bits are found where the graph is evaluated without that rounding."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal, save
from helpers.parity import verify
from helpers.rounded_network import (
    FAULTS,
    FORMS,
    INPUTS,
    Arrays,
    Fault,
    Form,
    float16,
    insert,
    int8,
    network,
    one_pair,
    scale,
)
from onnx import NodeProto

from exporter.results import ParityReport


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("theirs") / "theirs.onnx")


def compare(mine: Path, theirs: Path) -> ParityReport:
    return verify(mine, theirs, input_types=("random", "uniform"))


@pytest.mark.parametrize("form", [*FORMS])
def test_an_artifact_that_only_rounds_passes(form: str, theirs: Path, tmp_path: Path) -> None:
    report = compare(network(tmp_path / "m.onnx", FORMS[form]), theirs)
    assert report.structure is not None
    assert report.structure.passed
    assert report.passed
    assert report.structure.originals == report.structure.weights


@pytest.mark.parametrize("form", [*FORMS])
@pytest.mark.parametrize("fault", [*FAULTS])
def test_a_fault_is_not_covered_by_rounding(fault: str, form: str, theirs: Path, tmp_path: Path) -> None:
    report = compare(network(tmp_path / "m.onnx", FORMS[form], FAULTS[fault]), theirs)
    assert report.structure is not None
    assert report.structure.passed is False
    assert not report.passed


def test_a_layer_scaled_by_a_thousandth_is_named(theirs: Path, tmp_path: Path) -> None:
    report = compare(network(tmp_path / "m.onnx", int8, scale("w2", 1.001)), theirs)
    assert all(row.passed for row in report.comparisons)
    assert report.structure is not None
    assert report.structure.passed is False
    assert report.structure.altered == ("w2.q",)
    assert "w2.q" in str(report.structure)


def norm(arrays: Arrays, nodes: dict[str, NodeProto]) -> None:
    """Make the first layer's bias the last step of a batch normalisation."""
    arrays |= {"mean": normal(8, seed=4), "var": np.abs(normal(8, seed=5)) + np.float32(0.5)}
    arrays["gain"] = np.abs(normal(8, seed=6)) + np.float32(0.5)
    nodes["c1"].input[:] = ["x", "w1"]


def test_weights_with_batch_normalisation_folded_in_are_the_references(tmp_path: Path) -> None:
    def with_norm(arrays: Arrays, nodes: list[NodeProto]) -> None:
        insert(nodes, "r1", 0, [node("BatchNormalization", "c1 gain b1 mean var", "n1")])

    def folded(factor: float) -> Fault:
        def fault(arrays: Arrays, nodes: dict[str, NodeProto]) -> None:
            norm(arrays, nodes)
            gain = arrays.pop("gain") / np.sqrt(arrays.pop("var") + np.float32(1e-5))
            arrays["w1"] = arrays["w1"] * np.float32(factor) * gain.reshape(-1, 1, 1, 1, 1)
            arrays["b1"] = arrays["b1"] - gain * arrays.pop("mean")
            nodes["c1"].input[:] = ["x", "w1", "b1"]

        return fault

    reference = network(tmp_path / "theirs.onnx", with_norm, norm)
    for factor in (1.0, 1.01):
        structure = compare(network(tmp_path / "m.onnx", int8, folded(factor)), reference).structure
        assert structure is not None
        assert structure.passed is (factor == 1)
        assert structure.originals == (3 if factor == 1 else 2)
        assert structure.altered == (() if factor == 1 else ("w1.q",))


def test_weights_of_onnxruntimes_dynamic_quantisation(theirs: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name, fault in (("right", None), ("wrong", scale("w2", 1.01))):
        network(tmp_path / f"{name}.onnx", None, fault)
        quantize_dynamic(tmp_path / f"{name}.onnx", tmp_path / "m.onnx", weight_type=QuantType.QInt8)
        structure = compare(tmp_path / "m.onnx", theirs).structure
        assert structure is not None
        assert structure.passed is (name == "right")
        assert (structure.originals, structure.weights) == ((3, 3) if name == "right" else (2, 3))


@pytest.mark.parametrize("fault", [FAULTS["bias of the classes"], scale("w2", 1.01)])
def test_a_fault_that_passes_by_its_ratio(fault: Fault, theirs: Path, tmp_path: Path) -> None:
    report = compare(network(tmp_path / "m.onnx", int8, fault), theirs)
    assert all(row.passed for row in report.comparisons)
    assert not report.passed
    assert any("--min-snr" in note for note in report.notes)


@pytest.mark.parametrize("form", [*FORMS])
def test_a_file_compared_with_itself_passes(form: str, tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", FORMS[form])
    report = compare(path, path)
    assert report.structure is None or report.structure.passed
    assert report.passed


@pytest.mark.parametrize(("fault", "altered"), [("bias of the classes", ()), ("a channel dropped", ("w2.q",))])
def test_a_user_who_asks_for_an_accuracy_is_told_of_a_fault(
    fault: str, altered: tuple[str, ...], theirs: Path, tmp_path: Path
) -> None:
    faulty = network(tmp_path / "m.onnx", int8, FAULTS[fault])
    report = verify(faulty, theirs, input_types=("random",), min_snr=3)
    assert report.passed
    assert report.structure is not None
    assert (report.structure.passed, report.structure.counts) == (False, False)
    assert report.structure.altered == altered
    assert "--min-snr" in str(report.structure)
    assert not verify(faulty, theirs, input_types=("random",), min_snr=200).passed
    assert "--min-snr" not in str(verify(faulty, theirs, input_types=("random",)).structure)


def test_a_file_that_only_rounds_passes_with_an_accuracy_too(theirs: Path, tmp_path: Path) -> None:
    report = verify(network(tmp_path / "m.onnx", int8), theirs, input_types=("random",), min_snr=3)
    assert report.passed
    assert report.structure is not None
    assert report.structure.passed
    assert "--min-snr" not in str(report.structure)


def test_another_tolerance_of_the_user_replaces_the_comparison(theirs: Path, tmp_path: Path) -> None:
    faulty = network(tmp_path / "m.onnx", int8, FAULTS["bias of the classes"])
    report = verify(faulty, theirs, input_types=("random",), rtol=1, atol=1)
    assert report.structure is not None
    assert report.structure.passed is None


def test_decisions_on_rounded_numbers_are_left_to_the_ratio(theirs: Path, tmp_path: Path) -> None:
    def with_floor(form: Form | None) -> Form:
        def change(arrays: Arrays, nodes: list[NodeProto]) -> None:
            if form is not None:
                form(arrays, nodes)
            arrays["tiny"] = np.array(1e-3, np.float32)
            nodes[-1].output[0] = nodes[-1].name = "s"
            nodes.extend([node("Floor", "s", "floor"), node("Mul", "floor tiny", "step"), node("Add", "s step", "y")])

        return change

    reference = network(tmp_path / "theirs.onnx", with_floor(None))
    mine = network(tmp_path / "m.onnx", with_floor(int8), scale("b3", 0.98))
    report = compare(mine, reference)
    assert report.structure is not None
    assert report.structure.passed is None
    assert "floor.node (Floor)" in str(report.structure)
    assert report.passed


@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_scales_that_repeat_the_levels_are_compared(factor: float, tmp_path: Path) -> None:
    """A weight that is the product of a column of levels and a row of scales, stored as that."""
    levels, row, other = np.array([[-90], [13], [127], [55]], np.int8), normal(1, 5), normal(4, seed=3)
    last = [node("Mul", "x g", "z"), node("MatMul", "z w", "y")]
    ports = {"x": ("n", 4)}, {"y": ("n", 5)}
    theirs = graph(last, *ports, {"w": levels.astype(np.float32) * row, "g": other}, opset=21)
    nodes = [node("Cast", "q", "f", to=1), node("Mul", "f s", "w"), *last]
    mine = graph(nodes, *ports, {"q": levels, "s": row * np.float32(factor), "g": other}, opset=21)
    report = compare(save(tmp_path / "mine.onnx", mine), save(tmp_path / "theirs.onnx", theirs))
    assert report.passed is (factor == 1)


def casts_last(path: Path) -> Path:
    """Leave a model's nodes as onnxruntime's converter to float16 does: the casts come last."""
    model = onnx.load(path)
    nodes = sorted(model.graph.node, key=lambda made: made.op_type == "Cast")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def test_nodes_in_another_order_than_onnx_demands(theirs: Path, tmp_path: Path) -> None:
    path = casts_last(network(tmp_path / "m.onnx", float16))
    report = compare(path, theirs)
    assert report.structure is not None
    assert report.structure.passed
    assert report.passed
    assert compare(path, path).passed
    faulty = casts_last(network(tmp_path / "faulty.onnx", float16, FAULTS["a slope below zero"]))
    assert not compare(faulty, theirs).passed


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-1, 1), (-0.5, 3)])
def test_a_range_that_ends_where_a_clip_does_is_one(low: float, high: float, tmp_path: Path) -> None:
    arrays: Arrays = {"w": normal(6, 3, 3, 3, 3), "v": normal(4, 6, 3, 3, 3) * np.float32(0.1)}
    arrays |= {"low": np.array(low, np.float32), "high": np.array(high, np.float32)}
    ends = [node("GlobalAveragePool", "v2", "p"), node("Flatten", "p", "y")]

    def write(name: str, limit: list[NodeProto], sums: list[NodeProto]) -> Path:
        first, second = node("Conv", "x w", "c1", pads=[1] * 6), node("Conv", "r1 v", "c2", pads=[1] * 6)
        return save(tmp_path / name, graph([first, *limit, second, *sums, *ends], INPUTS, {"y": ("n", 4)}, arrays, 21))

    reference = write("theirs.onnx", [node("Clip", "c1 low high", "r1")], [node("Identity", "c2", "v2")])
    step = 0.9995 * (high - low) / 255  # a percentile
    arrays |= {"s": np.array(step, np.float32), "z": np.array(round(-low / step), np.uint8)}
    arrays |= {"s2": np.array(0.003, np.float32), "z2": np.array(0, np.int8)}  # 0.4, where the sums reach more
    pair = [node("QuantizeLinear", "c1 s z", "q1"), node("DequantizeLinear", "q1 s z", "r1")]
    narrow = [node("QuantizeLinear", "c2 s2 z2", "q2"), node("DequantizeLinear", "q2 s2 z2", "v2")]
    for name, limit in (("right.onnx", pair), ("wrong.onnx", [node("Relu", "c1", "r1")])):
        structure = compare(write(name, limit, narrow), reference).structure
        assert structure is not None
        assert structure.passed is (name == "right.onnx")


def test_a_given_array_and_a_random_input_are_evaluated(theirs: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=normal(1, 3, 4, 8, 8, seed=3))
    mine = network(tmp_path / "m.onnx", one_pair)
    report = verify(mine, theirs, arrays=(tmp_path / "mine.npz",), input_types=("uniform", "random"))
    assert report.structure is not None
    assert len(report.structure.inputs) == 2
    assert "mine" in report.structure.inputs[0]
    assert report.structure.inputs[1] in ("uniform", "random")
