"""BatchNormalization goes into the layers after it, and only there where that is the same function."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.graphs import check_pass, graph, node, normal, positive, rewrite, run_float64, run_onnxruntime
from numpy.typing import NDArray
from torch.nn import functional

from exporter.passes.fold_batch_norm import FoldBatchNorm

TOLERANCE = 2e-6
"""One rounding of the weights and one float32 sum: a few units in the last place."""
CHANNELS = 4
EPSILON = 1e-3
CLIP = {"x": ("n", CHANNELS, 5, 6, 7)}
VOLUME = {"y": ("n", "k", "t", "h", "w")}
CUBE = {"kernel_shape": [3, 3, 3]}
NORM = node("BatchNormalization", "x gamma beta mean var", "c", epsilon=EPSILON)


def statistics(**other: NDArray[Any]) -> dict[str, NDArray[Any]]:
    variance = positive(CHANNELS)
    mean = normal(CHANNELS, seed=3) * np.sqrt(variance)
    return {"gamma": normal(CHANNELS, seed=1), "beta": normal(CHANNELS, seed=2), "mean": mean, "var": variance} | other


def no_shift() -> dict[str, NDArray[Any]]:
    """Statistics that only scale."""
    return statistics(beta=np.zeros(CHANNELS, np.float32), mean=np.zeros(CHANNELS, np.float32))


def model(*layers: onnx.NodeProto, **weights: NDArray[Any]) -> onnx.ModelProto:
    """A BatchNormalization of a clip `x` with the output `c`, then layers."""
    held = {"w": normal(6, CHANNELS, 3, 3, 3), **statistics(), **weights}
    return graph([NORM, *layers], CLIP, VOLUME, held)


def linear(gemm: onnx.NodeProto, weights: dict[str, NDArray[Any]], rows: int | str = "n") -> onnx.ModelProto:
    """A BatchNormalization of a matrix `x` with the output `c`, then a Gemm."""
    return graph([NORM, gemm], {"x": (rows, CHANNELS)}, {"y": ("m", "k")}, {**statistics(), **weights})


def clip() -> NDArray[np.float32]:
    held = statistics()
    shape = (CHANNELS, 1, 1, 1)
    return normal(2, CHANNELS, 5, 6, 7) * np.sqrt(held["var"]).reshape(shape) + held["mean"].reshape(shape)


CONVOLUTIONS: dict[str, tuple[dict[str, Any], dict[str, NDArray[Any]]]] = {
    "3x3x3": ({}, {"w": normal(6, 4, 3, 3, 3)}),
    "bias": ({}, {"w": normal(6, 4, 3, 3, 3), "b": normal(6)}),
    "groups": ({"group": 2}, {"w": normal(6, 2, 3, 3, 3), "b": normal(6)}),
    "depthwise": ({"group": 4}, {"w": normal(8, 1, 3, 3, 3)}),
    "stride and dilation": ({"strides": [1, 2, 2], "dilations": [2, 1, 1]}, {"w": normal(6, 4, 2, 3, 3)}),
    "padded, without a shift": ({"pads": [1] * 6}, {"w": normal(6, 4, 3, 3, 3), "b": normal(6), **no_shift()}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_it_folds_and_computes_what_torch_does_in_float64(name: str, tmp_path: Path) -> None:
    attributes, weights = CONVOLUTIONS[name]
    conv = node("Conv", "c w b" if "b" in weights else "c w", "y", kernel_shape=weights["w"].shape[2:], **attributes)
    held = statistics() | weights
    exact = {name: torch.from_numpy(values.astype(np.float64)) for name, values in held.items()}
    normed = functional.batch_norm(
        torch.from_numpy(clip().astype(np.float64)),
        exact["mean"],
        exact["var"],
        exact["gamma"],
        exact["beta"],
        eps=EPSILON,
    )
    expected = functional.conv3d(
        normed,
        exact["w"],
        exact.get("b"),
        stride=attributes.get("strides", 1),
        padding=attributes.get("pads", [0])[0],
        dilation=attributes.get("dilations", 1),
        groups=attributes.get("group", 1),
    ).numpy()

    done = check_pass(FoldBatchNorm(), model(conv, **weights), {"x": clip()}, tmp_path, TOLERANCE)
    assert done.operators == ["Conv"]
    assert [row.action for row in done.step.decisions] == ["folded"]
    assert {held.name for held in done.model.graph.initializer} == {"w", "b" if "b" in weights else "y.node.bias"}
    error = np.abs(run_onnxruntime(done.model, {"x": clip()})["y"] - expected).max()
    assert error <= TOLERANCE * np.abs(expected).max()

    doubles = {name: values.astype(np.float64) for name, values in held.items()}
    precise = graph([NORM, conv], CLIP, VOLUME, doubles, dtype=onnx.TensorProto.DOUBLE)
    folded = run_float64(rewrite(FoldBatchNorm(), precise).model, {"x": clip().astype(np.float64)}, tmp_path)["y"]
    assert np.abs(folded - expected).max() <= 1e-7 * np.abs(expected).max()  # epsilon is float32 in ONNX


GEMMS: dict[str, tuple[dict[str, Any], dict[str, NDArray[Any]]]] = {
    "plain": ({}, {"w": normal(CHANNELS, 6)}),
    "transposed, scaled": ({"transB": 1, "alpha": 0.5, "beta": 0.25}, {"w": normal(6, CHANNELS), "b": normal(6)}),
    "one bias for all": ({"beta": 3.0}, {"w": normal(CHANNELS, 6), "b": normal(1)}),
}


@pytest.mark.parametrize("name", GEMMS)
def test_it_folds_into_a_gemm(name: str, tmp_path: Path) -> None:
    attributes, weights = GEMMS[name]
    gemm = node("Gemm", "c w b" if "b" in weights else "c w", "y", **attributes)
    done = check_pass(
        FoldBatchNorm(),
        linear(gemm, weights),
        {"x": normal(3, CHANNELS)},
        tmp_path,
        TOLERANCE,
    )
    assert done.operators == ["Gemm"]


@pytest.mark.parametrize("auto_pad", ["VALID", "SAME_UPPER"])
def test_a_padding_that_adds_nothing_is_none(auto_pad: str, tmp_path: Path) -> None:
    kernel = [3, 3, 3] if auto_pad == "VALID" else [1, 1, 1]
    conv = node("Conv", "c w", "y", kernel_shape=kernel, auto_pad=auto_pad, strides=[2, 2, 2])
    done = check_pass(FoldBatchNorm(), model(conv, w=normal(6, CHANNELS, *kernel)), {"x": clip()}, tmp_path, TOLERANCE)
    assert done.operators == ["Conv"]


def test_all_consumers_get_it_and_shared_weights_are_copied(tmp_path: Path) -> None:
    layers = [node("Conv", f"c {weight}", f"p{index}", **CUBE) for index, weight in enumerate("wwv")]
    sums = [
        node("Add", "p0 p1", "q"),
        node("Add", "q p2", "r"),
        node("Conv", "x w", "s", **CUBE),
        node("Add", "r s", "y"),
    ]
    done = check_pass(
        FoldBatchNorm(),
        model(*layers, *sums, v=normal(6, CHANNELS, 3, 3, 3, seed=1)),
        {"x": clip()},
        tmp_path,
        TOLERANCE,
    )
    assert "BatchNormalization" not in done.operators
    assert np.array_equal(done.weight("w"), normal(6, CHANNELS, 3, 3, 3))  # a layer without the norm reads them


def test_two_in_a_row_are_both_folded(tmp_path: Path) -> None:
    second = node("BatchNormalization", "c beta gamma mean2 var", "d", epsilon=EPSILON)
    layers = [second, node("Conv", "d w", "y", **CUBE)]
    done = check_pass(
        FoldBatchNorm(), model(*layers, mean2=np.zeros(CHANNELS, np.float32)), {"x": clip()}, tmp_path, TOLERANCE
    )
    assert done.operators == ["Conv"]
    assert [row.action for row in done.step.decisions] == ["folded", "folded"]


def test_after_a_concat_it_goes_into_the_next_convolution(tmp_path: Path) -> None:
    nodes = [
        node("Relu", "x", "r"),
        node("Concat", "x r", "k", axis=1),
        node("BatchNormalization", "k gamma beta mean var", "c", epsilon=EPSILON),
        node("Conv", "c w", "y", kernel_shape=[1, 1, 1]),
    ]
    held = {name: np.concatenate([values, values]) for name, values in statistics().items()}
    joined = graph(nodes, CLIP, VOLUME, {"w": normal(6, 2 * CHANNELS, 1, 1, 1), **held})
    done = check_pass(FoldBatchNorm(), joined, {"x": clip()}, tmp_path, TOLERANCE)
    assert done.operators == ["Relu", "Concat", "Conv"]


def with_output(made: onnx.ModelProto) -> onnx.ModelProto:
    made.graph.output.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, CLIP["x"]))
    return made


CONV = node("Conv", "c w", "y", **CUBE)
NEAR_MISSES = {
    "padding": (model(node("Conv", "c w", "y", pads=[0, 0, 0, 0, 0, 1], **CUBE)), "zero padding"),
    "padding by name": (model(node("Conv", "c w", "y", auto_pad="SAME_LOWER", **CUBE)), "zero padding"),
    "another consumer": (model(node("Conv", "c w", "z", **CUBE), node("Relu", "c", "y")), "it follows an input"),
    "an activation between": (model(node("Relu", "c", "r"), node("Conv", "r w", "y", **CUBE)), "it follows an input"),
    "an output": (with_output(model(CONV)), "it follows an input"),
    "a mean far from zero": (model(CONV, mean=3 * np.sqrt(positive(CHANNELS))), "standard deviations"),
    "weights that are computed": (
        model(node("Relu", "w", "v"), node("Conv", "c v", "y", **CUBE)),
        "weights or the bias of Conv are not constant",
    ),
    "not the weights": (
        model(node("Conv", "v c", "y", kernel_shape=[5, 6, 7]), v=normal(1, CHANNELS, 5, 6, 7)),
        "weights or the bias of Conv",
    ),
    "training": (
        graph(
            [node("BatchNormalization", "x gamma beta mean var", "c m v", training_mode=1), CONV],
            CLIP,
            VOLUME,
            {"w": normal(6, CHANNELS, 3, 3, 3), **statistics()},
        ),
        "training mode",
    ),
    "a transposed convolution": (
        model(node("ConvTranspose", "c w", "y", **CUBE), w=normal(CHANNELS, 6, 3, 3, 3)),
        "it follows an input",
    ),
    "Gemm of the transpose": (
        linear(node("Gemm", "c w", "y", transA=1), {"w": normal(CHANNELS, 6)}, CHANNELS),
        "Gemm transposes it",
    ),
}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_a_near_miss_is_left_alone_and_says_why(case: str) -> None:
    made, reason = NEAR_MISSES[case]
    done = rewrite(FoldBatchNorm(), made)
    assert not done.modified
    assert len(done.reasons) == 1
    assert reason in done.reasons[0]


def test_a_layer_inside_a_subgraph_is_left_alone() -> None:
    ports = [onnx.helper.make_tensor_value_info("i", onnx.TensorProto.FLOAT, None)]
    branches = {
        f"{name}_branch": onnx.helper.make_graph([node("Conv", "c w", "i", **CUBE)], name, [], ports)
        for name in ("then", "else")
    }
    made = model(node("If", "flag", "y", **branches), flag=np.array(True))
    assert not rewrite(FoldBatchNorm(), made).modified
