"""What optimize rewrites: sizes of the user, models that a pass breaks, and nodes that stay as they are."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal, positive
from helpers.optimizing import CUBE, request, saved, unet
from helpers.parity import check

from exporter.errors import ArtifactError, UsageError
from exporter.passes import pipelines
from exporter.passes.base import GraphPass
from exporter.types import InputOptions, OptimizeOptions
from exporter.workflows.optimize import optimize


def test_named_sizes_are_fixed_in_the_result_and_the_batch_stays_free(tmp_path: Path) -> None:
    path = saved(unet(size="s"), tmp_path / "unet.onnx")
    done = optimize(request(path, inputs=InputOptions({"image": (1, 2, 8, 8, 8)})))
    assert done.report is not None
    assert done.report.passed
    after = onnx.load(done.path).graph
    assert list(after.input) == list(unet(size=8).graph.input)
    assert list(after.output) == list(unet(size=8).graph.output)


def test_sizes_that_the_model_contradicts_are_refused(tmp_path: Path) -> None:
    path = saved(unet(size="s"), tmp_path / "unet.onnx")
    for shape, message in (((1, 3, 8, 8, 8), "axis 1 is 2"), ((1, 2, 8), "5 axes"), ((1, 2, 8, 4, 8), "both 's'")):
        with pytest.raises(UsageError, match=message):
            optimize(request(path, inputs=InputOptions({"image": shape})))


def test_sizes_that_the_model_cannot_have_are_refused(tmp_path: Path) -> None:
    nodes = [node("MaxPool", "x", "a", kernel_shape=[2], strides=[2]), node("Add", "a w", "y")]
    model = graph(nodes, {"x": [1, 1, "s"]}, {"y": [1, 1, "t"]}, {"w": np.ones((1, 1, 4), np.float32)})
    path = saved(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="does not take the sizes of --shape: .*Incompatible dimensions"):
        optimize(request(path, inputs=InputOptions({"x": (1, 1, 6)})))


def test_a_graph_without_a_name_is_optimised_as_it_is_verified(tmp_path: Path) -> None:
    model = unet()
    model.graph.ClearField("name")
    path = saved(model, tmp_path / "unet.onnx")
    assert check(path).passed
    done = optimize(request(path, tmp_path / "new.onnx"))
    assert "fold-batch-norm" in done.passes
    assert onnx.load(done.path).graph.name
    onnx.checker.check_model(done.path)


class BreaksOpset(GraphPass):
    """Leaves a node that no opset has."""

    name, condition, reason = "breaks-opset", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        model.graph[0].op_type = "NoSuchOperator"
        return True


class Unopened(GraphPass):
    """Leaves a model that is valid and that onnxruntime does not open: it has no kernel for this operator."""

    name, condition, reason = "unopened", "Always.", "None."

    def rewrite(self, model: ir.Model) -> bool:
        relu = next(node for node in model.graph if node.op_type == "Relu")
        relu.domain = "nowhere"
        model.graph.opset_imports["nowhere"] = 1
        return True


@pytest.mark.parametrize("broken", [BreaksOpset(), Unopened()], ids=lambda step: step.name)
def test_a_pass_that_breaks_the_model_is_undone_and_the_others_count(
    broken: GraphPass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(unet(), tmp_path / "unet.onnx")
    expected = optimize(request(path, tmp_path / "a.onnx")).path.read_bytes()
    passes = pipelines.build_passes(OptimizeOptions("cpu"))
    monkeypatch.setattr(pipelines, "build_passes", lambda *_: [*passes[:2], broken, *passes[2:]])
    done = optimize(request(path, tmp_path / "b.onnx"))
    assert done.path.read_bytes() == expected
    (undone,) = [reason for reason in done.unchanged if reason.undone]
    assert undone.example == broken.name
    assert ".c3d-export-" not in undone.reason


def test_no_message_names_the_staging_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exporter.workflows.optimization import rewriter

    path = saved(unet(), tmp_path / "unet.onnx")
    monkeypatch.setattr(rewriter.Rewriter, "_opening_fault", lambda *_: None)
    monkeypatch.setattr(pipelines, "build_passes", lambda *_: [Unopened()])
    with pytest.raises(ArtifactError, match=r"out/new\.onnx: onnxruntime rejects it") as caught:
        optimize(request(path, tmp_path / "out" / "new.onnx"))
    assert ".c3d-export-" not in str(caught.value)


def test_float16_weights_are_left_and_the_rest_is_rewritten(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a", **CUBE),
        node("BatchNormalization", "a gamma beta mean var", "b"),
        node("Cast", "s", "f", to=onnx.TensorProto.FLOAT),
        node("Mul", "b f", "c"),
        node("Cast", "c", "h", to=onnx.TensorProto.FLOAT16),
        node("Conv", "h v", "k", **CUBE),
        node("Cast", "k", "y", to=onnx.TensorProto.FLOAT),
    ]
    held = {
        "w": normal(8, 2, 3, 3, 3),
        "v": normal(4, 8, 3, 3, 3).astype(np.float16),
        "s": np.full((1, 8, 1, 1, 1), 0.5, np.float16),
        **{name: positive(8, seed=seed) for seed, name in enumerate(("gamma", "beta", "mean", "var"))},
    }
    model = graph(nodes, {"x": ("n", 2, 4, 6, 6)}, {"y": ("n", 4, 4, 6, 6)}, held)
    done = optimize(request(saved(model, tmp_path / "m.onnx")))
    assert "fold-batch-norm" in done.passes
    assert "its weights are float16, not float32" in [reason.reason for reason in done.unchanged]


def test_weights_of_ir_version_3_are_constants_and_the_summary_says_so(tmp_path: Path) -> None:
    model = unet(opset=11)
    model.ir_version = 3
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    path = saved(model, tmp_path / "m.onnx")
    done = optimize(request(path))
    assert done.report is not None
    assert done.report.passed
    assert {"constant-initializers", "fold-batch-norm"} <= {*done.passes}
    assert [value.name for value in onnx.load(done.path).graph.input] == ["image"]
    model.ir_version = 8  # from 4 on, an input with a default value is meant to be replaced
    done = optimize(request(saved(model, path)))
    assert not done.modified
    assert any("the caller may replace" in reason.reason and reason.remedy for reason in done.unchanged)
