"""Recipes, and how lists of passes are applied."""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import check_pass, graph, node, normal, positive, run_float64, run_onnxruntime

from exporter.passes.base import Decision, GraphPass, manifest_options, run_passes, used_names
from exporter.passes.names import unused_name
from exporter.passes.pipelines import build_passes
from exporter.passes.shapes import get_shape, infer_shapes, static_shape
from exporter.types import OptimizeOptions

IN, OUT = {"x": ("n", 4, 6)}, {"y": ("n", 24)}


def loaded(*nodes: onnx.NodeProto) -> ir.Model:
    return ir.from_proto(graph(nodes, IN, OUT, {}))


class Renames(GraphPass):
    """A pass that only prepares."""

    name, condition, reason, preparatory = "renames", "Always.", "None.", True

    def rewrite(self, model: ir.Model) -> bool:
        self.decide(model.graph[0], "renamed", "because")
        model.graph[0].name = "other"
        return True


def test_what_only_prepares_is_no_modification_but_is_told() -> None:
    applied = run_passes(loaded(node("Flatten", "x", "y")), [Renames()])
    assert not applied.modified
    assert applied.changed == ("renames",)
    assert applied.decisions == (Decision("y.node", "Flatten", "renamed", "because"),)


def test_decisions_are_of_the_last_call() -> None:
    step, model = Renames(), loaded(node("Flatten", "x", "y"))
    step(model)
    step(model)
    assert [row.node for row in step.decisions] == ["other"]


def test_each_pass_says_what_it_is() -> None:
    steps = build_passes(OptimizeOptions("cpu", weight_dtype="int8"))
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        assert step.name == step.name.lower()
        assert step.condition.endswith(".")
        assert step.reason.endswith(".")
        assert step.__doc__
    assert [step.name for step in steps][-1] == "compress-weights"


def test_a_whole_recipe_keeps_a_residual_block_with_norms(tmp_path: Path) -> None:
    held = {
        "w": normal(8, 8, 3, 3, 3),
        "v": normal(8, 8, 1, 1, 1),
        "gamma": normal(8),
        "beta": normal(8, seed=1),
        "mean": normal(8, seed=2),
        "var": positive(8),
    }
    cube = {"kernel_shape": [3] * 3, "pads": [1] * 6}
    nodes = [
        node("Conv", "x w", "a", **cube),
        node("BatchNormalization", "a gamma beta mean var", "b"),
        node("Relu", "b", "c"),
        node("Dropout", "c", "d"),
        node("Conv", "d w", "e", **cube),
        node("BatchNormalization", "e gamma beta mean var", "f"),
        node("Conv", "x v", "s", kernel_shape=[1] * 3),
        node("Add", "f s", "g"),
        node("Identity", "g", "h"),
        node("Relu", "h", "y"),
    ]
    model = graph(nodes, {"x": ("n", 8, "t", 6, 6)}, {"y": ("n", 8, "t", 6, 6)}, held)
    rewritten = ir.from_proto(model)
    applied = run_passes(rewritten, build_passes(OptimizeOptions("cpu")))
    assert applied.modified
    feeds = {"x": normal(2, 8, 4, 6, 6)}
    golden, results = run_float64(model, feeds, tmp_path)["y"], run_onnxruntime(ir.to_proto(rewritten), feeds)["y"]
    assert abs(results - golden).max() <= 2e-6 * abs(golden).max()
    assert "BatchNormalization" not in [made.op_type for made in rewritten.graph]
    assert not run_passes(rewritten, build_passes(OptimizeOptions("cpu"))).modified


def test_shapes_are_inferred_and_the_ports_keep_what_they_state() -> None:
    model = loaded(node("Relu", "x", "r"), node("Flatten", "r", "f"), node("Relu", "f", "y"))
    model.graph.outputs[0].shape = ir.Shape(["rows", None])
    infer_shapes(model)
    assert get_shape(model.graph[0].outputs[0]) == ("n", 4, 6)
    assert static_shape(model.graph[0].outputs[0]) is None
    assert get_shape(model.graph.outputs[0]) == ("rows", None)


def test_an_unknown_rank_is_none() -> None:
    model = loaded(node("Reshape", "x s", "y"))
    assert get_shape(ir.Value(name="v")) is None
    assert static_shape(model.graph.inputs[0]) is None


@pytest.mark.parametrize(("wanted", "given"), [("new", "new"), ("y", "y.2"), ("y.node", "y.node.2"), ("x", "x.2")])
def test_names_do_not_collide(wanted: str, given: str) -> None:
    assert unused_name(used_names(loaded(node("Flatten", "x", "y"))), wanted) == given


def test_the_manifest_keeps_choices_and_times() -> None:
    row = Decision("conv2", "Conv", "winograd", "it pays", 60.0, 68.123)
    assert str(row) == "conv2 (Conv): winograd, predicted 60 ms, measured 68.1 ms"
    applied = run_passes(loaded(node("Flatten", "x", "y")), [Renames()])
    assert manifest_options(OptimizeOptions("cpu", autotune=True), applied) == {
        "target": "cpu",
        "passes": ["renames"],
        "decisions": ["y.node (Flatten): renamed"],
        "autotune": True,
        "optimize_for": "size",
    }


def test_the_helper_finds_a_pass_that_lies(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_pass(Renames(), graph([node("Flatten", "x", "y")], IN, OUT, {}), {"x": normal(1, 4, 6)}, tmp_path, 1e-6)
