"""What comes before the passes that rewrite: sizes, initialisers that are inputs, old opsets."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal, run_onnxruntime

from exporter.errors import UsageError
from exporter.passes.base import run_passes
from exporter.passes.graph import get_shape
from exporter.passes.prepare import ConstantInitializers, FixSizes, RaiseOpset

IN: Any = {"x": ("n", 2, "t", None)}
OUT: Any = {"y": ("n", 2, "t", "w")}


def loaded(model: onnx.ModelProto) -> ir.Model:
    return ir.from_proto(model)


def test_sizes_are_fixed_by_name_and_by_axis() -> None:
    model = loaded(graph([node("Relu", "x", "r"), node("Neg", "r", "y")], IN, OUT, {}))
    done = run_passes(model, [FixSizes({"x": (1, 2, 5, 7)})])
    assert (done.modified, done.changed) == (False, ("fix-sizes",))
    shapes = [get_shape(value) for value in (model.graph.inputs[0], model.graph[0].outputs[0], model.graph.outputs[0])]
    assert shapes == [("n", 2, 5, 7)] * 3


def test_sizes_that_are_fixed_already_change_nothing() -> None:
    ports = {"x": ("n", 2)}, {"y": ("n", 2)}
    assert not FixSizes({"x": (4, 2)})(loaded(graph([node("Relu", "x", "y")], *ports, {}))).modified


@pytest.mark.parametrize("shapes", [{"z": (1, 2, 5, 7)}, {"x": (1, 2)}, {"x": (1, 3, 5, 7)}])
def test_an_option_that_does_not_fit_is_no_pass_that_failed(shapes: dict[str, tuple[int, ...]]) -> None:
    model = loaded(graph([node("Relu", "x", "y")], IN, OUT, {}))
    with pytest.raises(UsageError, match="--shape"):
        run_passes(model, [FixSizes(shapes)])


def with_initializer_inputs(ir_version: int) -> ir.Model:
    model = graph([node("Gemm", "x w", "y")], {"x": ("n", 4), "w": (4, 3)}, {"y": ("n", 3)}, {"w": normal(4, 3)}, 12)
    model.ir_version = ir_version
    return loaded(model)


def test_initialisers_are_constants_only_where_the_ir_version_made_them_inputs() -> None:
    old, new = with_initializer_inputs(3), with_initializer_inputs(7)
    assert run_passes(old, [ConstantInitializers()]).changed == ("constant-initializers",)
    assert [value.name for value in old.graph.inputs] == ["x"]
    onnx.checker.check_model(ir.to_proto(old), full_check=True)
    done = run_passes(new, [ConstantInitializers()])
    assert done.changed == ()
    assert [value.name for value in new.graph.inputs] == ["x", "w"]
    assert [row.unchanged for row in done.decisions] == [True]


def test_an_old_opset_is_raised_and_the_function_stays() -> None:
    nodes = [
        node("Dropout", "x", "d", ratio=0.3),
        node("Squeeze", "d", "s", axes=[1]),
        node("Softmax", "s", "y", axis=1),
    ]
    model = graph(nodes, {"x": (3, 1, 4, 5)}, {"y": (3, 4, 5)}, {}, 9)
    done = run_passes(loaded(model), [RaiseOpset()])
    assert done.changed == ("raise-opset",)
    after = ir.to_proto(done.model)
    assert after.opset_import[0].version == 13
    feeds = {"x": normal(3, 1, 4, 5)}
    np.testing.assert_allclose(run_onnxruntime(after, feeds)["y"], run_onnxruntime(model, feeds)["y"], rtol=1e-6)


def test_what_the_converter_cannot_convert_keeps_its_opset_and_says_why() -> None:
    held = {name: normal(2, 3) for name in ("scale", "bias", "mean", "var")}
    norm = node("BatchNormalization", "x scale bias mean var", "y", spatial=0)
    model = loaded(graph([norm], {"x": (1, 2, 3)}, {"y": (1, 2, 3)}, held, 7))
    before = ir.to_proto(model).graph
    done = run_passes(model, [RaiseOpset()])
    assert done.changed == ()
    assert ir.to_proto(done.model).graph == before
    (row,) = done.decisions
    assert row.unchanged
    assert row.reason.endswith("Attribute spatial must have value 1")
    assert "/" not in row.reason
    assert row.remedy


def test_a_value_that_a_pad_does_not_use_keeps_no_opset() -> None:
    model = graph(
        [node("Pad", "x", "y", mode="reflect", pads=[0, 1, 0, 1], value=0.5)], {"x": (2, 3)}, {"y": (2, 5)}, {}, 9
    )
    done = run_passes(loaded(model), [RaiseOpset()])
    assert done.changed == ("raise-opset",)
    x = normal(2, 3)
    assert np.array_equal(
        run_onnxruntime(ir.to_proto(done.model), {"x": x})["y"], np.pad(x, ((0, 0), (1, 1)), "reflect")
    )


def test_a_new_opset_is_left() -> None:
    assert not RaiseOpset()(loaded(graph([node("Relu", "x", "y")], {"x": (1,)}, {"y": (1,)}, {}, 13))).modified
