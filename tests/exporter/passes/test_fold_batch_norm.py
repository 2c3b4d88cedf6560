"""BatchNormalization goes into the layers before it, and only there where that is the same function."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import check_pass, graph, node, normal, positive, rewrite
from numpy.typing import NDArray

from exporter.passes.fold_batch_norm import FoldBatchNorm

TOLERANCE = 2e-6
"""One rounding of the weights and one float32 sum: a few units in the last place."""
CLIP = {"x": ("n", 4, 3, 5, 5)}
VOLUME = {"y": ("n", "k", "t", "h", "w")}
CUBE = {"kernel_shape": [3, 3, 3], "pads": [1] * 6}


def statistics(channels: int) -> dict[str, NDArray[Any]]:
    return {
        "gamma": normal(channels, seed=1),
        "beta": normal(channels, seed=2),
        "mean": normal(channels, seed=3),
        "var": positive(channels),
    }


def norm(source: str = "c", result: str = "y", **attributes: Any) -> onnx.NodeProto:
    return node("BatchNormalization", f"{source} gamma beta mean var", result, epsilon=1e-3, **attributes)


def convolution(*more: onnx.NodeProto, opset: int = 18, **weights: NDArray[Any]) -> onnx.ModelProto:
    """Conv with 6 channels, whose output is `c`, then `more`, whose last output is `y`."""
    held = {"w": normal(6, 4, 3, 3, 3), **statistics(6), **weights}
    return graph([node("Conv", "x w", "c", **CUBE), *more], CLIP, {"y": ("n", 6, 3, 5, 5)}, held, opset)


LAYERS: dict[
    str, tuple[list[onnx.NodeProto], dict[str, tuple[int | str, ...]], tuple[int | str, ...], dict[str, Any]]
] = {
    "Conv": ([node("Conv", "x w", "c", **CUBE)], CLIP, ("n", 6, 3, 5, 5), {"w": normal(6, 4, 3, 3, 3)}),
    "Conv, bias, groups": (
        [node("Conv", "x w b", "c", group=2, **CUBE)],
        CLIP,
        ("n", 6, 3, 5, 5),
        {"w": normal(6, 2, 3, 3, 3), "b": normal(6)},
    ),
    "ConvTranspose, groups": (
        [node("ConvTranspose", "x w b", "c", group=2, strides=[2] * 3, kernel_shape=[2] * 3)],
        CLIP,
        ("n", 6, 6, 10, 10),
        {"w": normal(4, 3, 2, 2, 2), "b": normal(6)},
    ),
    "Gemm": ([node("Gemm", "x w", "c")], {"x": ("n", 8)}, ("n", 6), {"w": normal(8, 6)}),
    "Gemm, transposed, scaled": (
        [node("Gemm", "x w b", "c", transB=1, alpha=0.5, beta=0.25)],
        {"x": ("n", 8)},
        ("n", 6),
        {"w": normal(6, 8), "b": normal(6)},
    ),
    "Gemm, one bias for all": (
        [node("Gemm", "x w b", "c")],
        {"x": ("n", 8)},
        ("n", 6),
        {"w": normal(8, 6), "b": normal(1)},
    ),
}


@pytest.mark.parametrize("opset", [9, 15, 21])
@pytest.mark.parametrize("layer", LAYERS)
def test_it_folds_and_the_function_stays(layer: str, opset: int, tmp_path: Path) -> None:
    nodes, inputs, shape, weights = LAYERS[layer]
    model = graph([*nodes, norm()], inputs, {"y": shape}, {**weights, **statistics(6)}, opset)
    feeds = {"x": normal(2, *(int(size) for size in inputs["x"][1:]))}
    done = check_pass(FoldBatchNorm(), model, feeds, tmp_path, TOLERANCE)
    assert done.modified
    assert done.operators == [nodes[0].op_type]
    assert [row.action for row in done.step.decisions] == ["folded"]
    names = {held.name for held in done.model.graph.initializer}
    assert names == {"w", *(["b"] if "b" in weights else ["c.node.bias"])}  # the statistics are gone


def test_weights_are_computed_in_float64_and_rounded_once() -> None:
    done = rewrite(FoldBatchNorm(), convolution(norm()))
    held = {name: values.astype(np.float64) for name, values in {"w": normal(6, 4, 3, 3, 3), **statistics(6)}.items()}
    scale = held["gamma"] / np.sqrt(held["var"] + np.float64(np.float32(1e-3)))
    assert np.array_equal(done.weight("w"), (held["w"] * scale[:, None, None, None, None]).astype(np.float32))
    assert np.array_equal(done.weight("c.node.bias"), (held["beta"] - held["mean"] * scale).astype(np.float32))


NEAR_MISSES = {
    "training mode": (convolution(norm(result="y m v", training_mode=1)), "training mode"),
    "read twice": (convolution(norm(result="z"), node("Add", "z c", "y")), "other consumers"),
    "not after a layer": (convolution(node("Relu", "c", "r"), norm("r")), "follows Relu"),
    "statistics of another width": (
        convolution(node("Identity", "beta", "beta2"), node("BatchNormalization", "c gamma beta2 mean var", "y")),
        "not constant",
    ),
}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_a_near_miss_is_left_alone_and_says_why(case: str) -> None:
    model, reason = NEAR_MISSES[case]
    done = rewrite(FoldBatchNorm(), model)
    assert not done.modified
    assert len(done.reasons) == 1
    assert reason in done.reasons[0]


def test_an_input_after_nothing_is_left_alone() -> None:
    model = graph([norm("x")], CLIP, {"y": ("n", 4, 3, 5, 5)}, statistics(4))
    assert rewrite(FoldBatchNorm(), model).reasons == ["it follows an input, not Conv, ConvTranspose, Gemm"]


@pytest.mark.parametrize("default", [True, False], ids=["with a default", "without"])
def test_a_weight_that_the_caller_gives_is_not_constant(default: bool) -> None:
    model = convolution(norm())
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [6, 4, 3, 3, 3]))
    if not default:
        del model.graph.initializer[0]
    assert rewrite(FoldBatchNorm(), model).reasons == ["the weights or the bias of Conv are not constant"]


def test_float16_is_left_alone() -> None:
    held = {name: values.astype(np.float16) for name, values in {"w": normal(6, 4, 3, 3, 3), **statistics(6)}.items()}
    nodes = [node("Conv", "x w", "c", **CUBE), norm()]
    model = graph(nodes, CLIP, {"y": ("n", 6, 3, 5, 5)}, held, dtype=onnx.TensorProto.FLOAT16)
    assert rewrite(FoldBatchNorm(), model).reasons == ["the weights are float16; only float32 and float64 are folded"]


def test_an_output_of_the_graph_before_the_norm_is_kept() -> None:
    model = convolution(norm())
    model.graph.output.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, ["n", 6, 3, 5, 5]))
    assert rewrite(FoldBatchNorm(), model).reasons == ["the output of Conv has other consumers"]


def test_weights_that_two_convolutions_share_are_copied(tmp_path: Path) -> None:
    model = convolution(norm(result="z"), node("Conv", "x w", "d", **CUBE), node("Add", "z d", "y"))
    done = check_pass(FoldBatchNorm(), model, {"x": normal(1, 4, 3, 5, 5)}, tmp_path, TOLERANCE)
    assert done.operators == ["Conv", "Conv", "Add"]
    assert np.array_equal(done.weight("w"), normal(6, 4, 3, 3, 3))
    assert done.weight("w.2").shape == (6, 4, 3, 3, 3)


def test_a_subgraph_is_left_alone() -> None:
    branch = onnx.helper.make_graph(
        [node("Conv", "x w", "c", **CUBE), norm(result="b")],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None)],
    )
    other = onnx.helper.make_graph(
        [node("Conv", "x w", "e", **CUBE)],
        "other",
        [],
        [onnx.helper.make_tensor_value_info("e", onnx.TensorProto.FLOAT, None)],
    )
    held = {"w": normal(6, 4, 3, 3, 3), **statistics(6), "flag": np.array(True)}
    model = graph(
        [node("If", "flag", "y", then_branch=branch, else_branch=other)], CLIP, {"y": ("n", 6, 3, 5, 5)}, held
    )
    assert not rewrite(FoldBatchNorm(), model).modified


def concat(*branches: onnx.NodeProto, axis: int = 1, **weights: NDArray[Any]) -> onnx.ModelProto:
    """Layers with the outputs `a` and `b`, whose Concat is normalised."""
    held = {"wa": normal(4, 4, 1, 1, 1), "wb": normal(2, 4, 1, 1, 1), "bb": normal(2), **statistics(6), **weights}
    nodes = [*branches, node("Concat", "a b", "c", axis=axis), norm()]
    used = {name for made in nodes for name in made.input}
    return graph(nodes, CLIP, VOLUME, {name: held[name] for name in held if name in used})


POINTWISE = {"kernel_shape": [1, 1, 1]}
FIRST, SECOND = node("Conv", "x wa", "a", **POINTWISE), node("Conv", "x wb bb", "b", **POINTWISE)


@pytest.mark.parametrize("axis", [1, -4])
def test_after_a_concat_each_layer_gets_its_channels(axis: int, tmp_path: Path) -> None:
    done = check_pass(
        FoldBatchNorm(), concat(FIRST, SECOND, axis=axis), {"x": normal(2, 4, 3, 5, 5)}, tmp_path, TOLERANCE
    )
    assert done.operators == ["Conv", "Conv", "Concat"]
    held = {name: values.astype(np.float64) for name, values in statistics(6).items()}
    scale = held["gamma"] / np.sqrt(held["var"] + np.float64(np.float32(1e-3)))
    shift = held["beta"] - held["mean"] * scale
    assert np.array_equal(
        done.weight("wa")[..., 0, 0, 0], (normal(4, 4, 1, 1, 1)[..., 0, 0, 0] * scale[:4, None]).astype(np.float32)
    )
    assert np.array_equal(done.weight("bb"), (scale[4:] * normal(2) + shift[4:]).astype(np.float32))


def test_a_concat_of_concats_is_one_list_of_channels(tmp_path: Path) -> None:
    inner = [FIRST, SECOND, node("Concat", "a b", "ab", axis=1)]
    outer = [node("Conv", "x wd", "d", **POINTWISE), node("Concat", "d ab", "c", axis=1), norm()]
    held = {"wa": normal(4, 4, 1, 1, 1), "wb": normal(2, 4, 1, 1, 1), "bb": normal(2), "wd": normal(3, 4, 1, 1, 1)}
    model = graph([*inner, *outer], CLIP, VOLUME, {**held, **statistics(9)})
    done = check_pass(FoldBatchNorm(), model, {"x": normal(1, 4, 3, 5, 5)}, tmp_path, TOLERANCE)
    assert done.operators == ["Conv", "Conv", "Concat", "Conv", "Concat"]


def densely_connected() -> onnx.ModelProto:
    """A branch that a later layer reads too, as in DenseNet."""
    model = concat(FIRST, SECOND)
    model.graph.node.append(node("Relu", "a", "z"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, VOLUME["y"]))
    return model


WIDE = {"wa": normal(6, 4, 1, 1, 1), "wb": normal(6, 4, 1, 1, 1), "bb": normal(6)}
CONCATS = {
    "a branch is read twice": (densely_connected(), "other consumers"),
    "a branch is no layer": (
        concat(FIRST, node("Conv", "x wb bb", "e", **POINTWISE), node("Relu", "e", "b")),
        "it follows Relu in its Concat",
    ),
    "one layer is two branches": (
        graph(
            [FIRST, node("Concat", "a a", "c", axis=1), norm()],
            CLIP,
            VOLUME,
            {"wa": normal(3, 4, 1, 1, 1), **statistics(6)},
        ),
        "other consumers",
    ),
    "frames one after another": (concat(FIRST, SECOND, axis=2, **WIDE), "Concat along axis 2"),
    "channels from the end": (concat(FIRST, SECOND, axis=-3, **WIDE), "Concat along axis -3"),
}


@pytest.mark.parametrize("case", CONCATS)
def test_a_concat_that_is_not_of_layers_for_the_norm_alone_is_left_alone(case: str) -> None:
    model, reason = CONCATS[case]
    done = rewrite(FoldBatchNorm(), model)
    assert not done.modified
    assert len(done.reasons) == 1
    assert reason in done.reasons[0]
