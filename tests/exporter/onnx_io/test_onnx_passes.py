"""Passes of onnx_ir that call onnx: the model is as before, and many initialisers are looked up quickly."""

import numpy as np
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node
from onnx_ir.passes.common import CheckerPass, ShapeInferencePass

from exporter.onnx_io.onnx_passes import run_onnx_pass
from exporter.passes.graph import get_shape


def model_with(count: int, operator: str = "Add") -> ir.Model:
    weights = {f"w{number}": np.zeros(3, np.float32) for number in range(count)}
    return ir.from_proto(
        graph([node(operator, "x w0", "a"), node("Relu", "a", "y")], {"x": ("n", 3)}, {"y": ("n", "m")}, weights)
    )


class LooksUp(ir.passes.InPlacePass):
    """What onnx_ir does before it calls onnx: every initialiser becomes an input."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        inputs, values = model.graph.inputs, [*model.graph.initializers.values()]
        before = [*inputs]
        for value in values:
            assert value not in inputs
            inputs.append(value)
            assert value in inputs
        inputs.clear()
        assert before[0] not in inputs
        inputs.extend(before)
        assert before[0] in inputs
        raise ValueError("at the end")


def test_the_inputs_find_their_members_and_are_a_plain_list_again() -> None:
    model = model_with(3)
    names = [value.name for value in model.graph.inputs]
    with pytest.raises(Exception, match="at the end"):
        run_onnx_pass(LooksUp(), model)
    assert [value.name for value in model.graph.inputs] == names == ["x"]
    assert not model.graph.initializers["w1"].is_graph_input()


def test_the_checker_and_the_shapes_are_those_of_the_passes_alone() -> None:
    for operator in ("Add", "NoSuchOperator"):
        found: list[str] = []
        for run in (lambda step, model: step(model), run_onnx_pass):
            try:
                run(CheckerPass(), model_with(50, operator))
                found.append("valid")
            except Exception as error:  # noqa: BLE001 - the checker's class is not the point
                found.append(str(error.__cause__ or error))
        assert found[0] == found[1]
        assert (found[0] == "valid") is (operator == "Add")
    model = model_with(50)
    run_onnx_pass(ShapeInferencePass(), model)
    assert get_shape(model.graph.outputs[0]) == ("n", 3)
    assert len(model.graph.initializers) == 50
