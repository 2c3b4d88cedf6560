"""Recipes, and how lists of passes are applied."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import check_pass, graph, node, normal, positive, run_float64, run_onnxruntime

from exporter.passes.base import PASSES_OPSET, Decision, GraphPass, NodePass, manifest_options, run_passes
from exporter.passes.builder import insert_node
from exporter.passes.graph import get_shape, infer_shapes, replace_value, used_names
from exporter.passes.pipelines import build_passes
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


class Leaves(GraphPass):
    """A pass that changes nothing."""

    name, condition, reason = "leaves", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        return False


def test_a_model_is_copied_only_where_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[ir.Model] = []
    clone = ir.Model.clone
    monkeypatch.setattr(ir.Model, "clone", lambda model: copies.append(model) or clone(model))
    run_passes(loaded(node("Flatten", "x", "y")), [Leaves(), Leaves(), Renames(), Leaves(), Leaves()])
    assert len(copies) == 2


class Absolute(NodePass):
    """A pass that takes absolute values in place of ReLUs."""

    name, condition, reason = "absolute", "A Relu.", "None."
    operators, min_opset = ("Relu",), PASSES_OPSET

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        inputs = [value for value in node.inputs if value is not None]
        replace_value(node.outputs[0], insert_node(model, node, "Abs", inputs, "made"))
        model.graph.remove(node, safe=True)
        return True


@pytest.mark.parametrize(("opset", "expected"), [(PASSES_OPSET - 1, "Relu"), (PASSES_OPSET, "Abs")])
def test_a_pass_over_nodes_rewrites_all_of_its_operators_but_no_older_model(opset: int, expected: str) -> None:
    model = ir.from_proto(graph([node("Relu", "x", "a"), node("Relu", "a", "y")], IN, {"y": IN["x"]}, {}))
    model.graph.opset_imports[""] = opset
    assert Absolute()(model).modified == (expected == "Abs")
    assert [each.op_type for each in model.graph] == [expected] * 2
    assert [each.outputs[0].name for each in model.graph] == ["a", "y"]
    if expected == "Abs":
        assert [each.name for each in model.graph] == ["made", "made.2"]
    assert model.graph.outputs[0].shape == ["n", 4, 6]
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


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
    assert get_shape(model.graph.outputs[0]) == ("rows", None)


def test_an_unknown_rank_is_none() -> None:
    assert get_shape(ir.Value(name="v")) is None


@pytest.mark.parametrize(("wanted", "given"), [("new", "new"), ("y", "y.2"), ("y.node", "y.node.2"), ("x", "x.2")])
def test_names_do_not_collide(wanted: str, given: str) -> None:
    assert used_names(loaded(node("Flatten", "x", "y"))).new(wanted) == given


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


class Raises(GraphPass):
    """Changes the graph, and fails before it is done."""

    name, condition, reason = "raises", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        self.decide(model.graph[0], "renamed", "because")
        model.graph[0].name = "half"
        raise KeyError("half done")


class Invalidates(GraphPass):
    """Leaves an operator with two inputs more than it takes."""

    name, condition, reason = "invalidates", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        first = model.graph[0]
        first.resize_inputs(3)
        for index in (1, 2):
            first.replace_input_with(index, first.inputs[0])
        return True


@pytest.mark.parametrize(("broken", "reason"), [(Raises(), "half done"), (Invalidates(), "checker rejects")])
def test_a_pass_that_fails_is_undone_and_the_others_go_on(broken: GraphPass, reason: str) -> None:
    model = loaded(node("Flatten", "x", "y"))
    applied = run_passes(model, [broken, Renames()])
    assert applied.changed == ("renames",)
    first, second = applied.decisions
    assert (first.node, first.action) == (broken.name, "undone")
    assert reason in first.reason
    assert second == Decision("y.node", "Flatten", "renamed", "because")
    alone = run_passes(loaded(node("Flatten", "x", "y")), [Renames()])
    assert ir.to_proto(applied.model) == ir.to_proto(alone.model)


def test_a_pass_is_undone_where_the_engine_does_not_open_its_result() -> None:
    applied = run_passes(loaded(node("Flatten", "x", "y")), [Renames()], opens=lambda _: "no kernel")
    assert applied.changed == ()
    assert applied.decisions[0].reason.endswith("no kernel")


def test_undone_passes_share_the_weights_of_the_model() -> None:
    weight = ir.tensor(np.zeros(4096, np.float32), name="w")
    model = ir.from_proto(graph([node("Add", "x w", "y")], {"x": (4096,)}, {"y": (4096,)}, {}))
    model.graph.register_initializer(ir.Value(name="w", const_value=weight, shape=ir.Shape([4096])))
    model.graph[0].replace_input_with(1, model.graph.initializers["w"])
    applied = run_passes(model, [Raises()])
    assert applied.model is not model
    assert applied.model.graph.initializers["w"].const_value is weight


def test_a_model_that_fails_the_shape_check_before_is_not_judged_by_it_after() -> None:
    model = loaded(node("Flatten", "x", "y"))
    model.graph.outputs[0].shape = ir.Shape([5, 25])  # the sizes of another model
    applied = run_passes(model, [Renames()])
    assert (applied.changed, applied.full_check) == (("renames",), False)


class RenamesAnOutput(GraphPass):
    """A pass that breaks the promise of all: the graph's outputs keep their names."""

    name = "renames"
    condition = reason = ""

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        model.graph.outputs[0].name = "z"
        return True


def test_a_pass_that_renames_an_output_is_undone() -> None:
    model = ir.from_proto(graph([node("Relu", "x", "y")], {"x": ("n", 2)}, {"y": ("n", 2)}, {}))
    done = run_passes(model, [RenamesAnOutput()])
    assert [value.name for value in done.model.graph.outputs] == ["y"]
    assert done.changed == ()
    assert [row.action for row in done.decisions] == ["undone"]


def test_a_new_node_and_its_output_may_have_one_name() -> None:
    """Weights that are stored in fewer bits are restored by such nodes."""
    model = loaded(node("Flatten", "x", "y"))
    inputs = [model.graph.inputs[0]]
    made = [insert_node(model, model.graph[0], "Neg", inputs, "w.float32", output="w.float32") for _ in range(2)]
    assert [value.name for value in made] == ["w.float32", "w.float32.2"]
