"""A graph is evaluated in order, inner graphs included, and values are freed after their last use."""

import weakref
from typing import Any

import numpy as np
import pytest
from helpers import graphs
from helpers.evaluated import evaluator, in_float64, in_onnxruntime
from onnx import TensorProto, helper

from exporter.engines.reference import graph as graph_module

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def chain(length: int) -> Any:
    nodes = [graphs.node("Mul", f"v{i} two", f"v{i + 1}") for i in range(length)]
    return graphs.graph(nodes, {"v0": [2, 3]}, {f"v{length}": [2, 3]}, {"two": np.array(2, np.float32)})


def test_intermediate_values_are_freed_after_their_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []
    most = [0]
    plain = graph_module.Operator.run

    def counting(*args: Any) -> list[Any]:
        outputs = plain(*args)
        alive.extend(weakref.ref(value) for value in outputs)
        most[0] = max(most[0], sum(reference() is not None for reference in alive))
        return outputs

    monkeypatch.setattr(graph_module.Operator, "run", counting)
    graph = evaluator(chain(6))
    assert np.array_equal(graph.run({"v0": X.astype(np.float64)})["v6"], X * 64.0)
    assert most[0] == 2
    values = graph.run({"v0": X.astype(np.float64)}, keep=["v1", "v2"])
    assert [*values] == ["v1", "v2", "v6"]
    assert np.array_equal(values["v2"], X * 4.0)


FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def body(nodes: list[Any], inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    """Return a graph; its integers and booleans are scalars."""
    ports = [
        [helper.make_tensor_value_info(name, kind, None if kind == FLOAT else []) for name, kind in side.items()]
        for side in (inputs, outputs)
    ]
    return helper.make_graph(nodes, "body", ports[0], ports[1])


ROW = body(
    [
        helper.make_node("Add", ["state", "row"], ["sum"]),
        helper.make_node("Identity", ["sum"], ["state_out"]),
        helper.make_node("Mul", ["sum", "two"], ["doubled"]),
    ],
    {"state": FLOAT, "row": FLOAT},
    {"state_out": FLOAT, "doubled": FLOAT},
)
COUNT = body(
    [
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("Add", ["state", "f"], ["state_out"]),
        helper.make_node("Mul", ["state_out", "two"], ["doubled"]),
        helper.make_node("Identity", ["going"], ["going_out"]),
    ],
    {"i": INT, "going": BOOL, "state": FLOAT},
    {"going_out": BOOL, "state_out": FLOAT, "doubled": FLOAT},
)
BRANCHES = [body([helper.make_node(op, ["x", "two"], ["y"])], {}, {"y": FLOAT}) for op in ("Mul", "Sub")]
CONTROL: dict[str, tuple[Any, dict[str, Any]]] = {
    "Loop": (helper.make_node("Loop", ["n", "", "start"], ["last", "all"], body=COUNT), {"n": np.array(3, np.int64)}),
    "Scan": (helper.make_node("Scan", ["start", "x"], ["last", "all"], body=ROW, num_scan_inputs=1), {}),
    "Scan, other directions and axes": (
        helper.make_node(
            "Scan",
            ["start", "t"],
            ["last", "all"],
            body=ROW,
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_input_directions=[1],
            scan_output_axes=[1],
            scan_output_directions=[1],
        ),
        {},
    ),
    "If": (helper.make_node("If", ["yes"], ["y"], then_branch=BRANCHES[0], else_branch=BRANCHES[1]), {"yes": np.array(False)}),
}  # fmt: skip


@pytest.mark.parametrize("case", [*CONTROL])
def test_control_flow(case: str) -> None:
    node, weights = CONTROL[case]
    weights = weights | {"two": np.array(2, np.float32), "start": np.ones(3, np.float32)}
    inputs = [helper.make_tensor_value_info("x", FLOAT, [2, 3])]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    # an intermediate value that only the inner graph reads must live until then
    nodes = [graphs.node("Transpose", "x", "t", perm=[1, 0]), graphs.node("Transpose", "t", "z", perm=[1, 0]), node]
    model = graphs.make_model(nodes, inputs, outputs, weights, 18)
    for ours, theirs in zip(in_float64(model, {"x": X}), in_onnxruntime(model, {"x": X}), strict=True):
        assert ours.dtype == np.float64
        assert np.array_equal(ours, theirs)
