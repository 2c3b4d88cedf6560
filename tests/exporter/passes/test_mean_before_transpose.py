"""Means over volumes are taken before the Transpose of a rewritten convolution, with less rounding."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite, run_onnxruntime

from exporter.passes.cancel_transposes import FIRST, FRAMES, IMAGE_FIRST
from exporter.passes.mean_before_transpose import MeanBeforeTranspose

SIZES = (2, 3, 4, 5)
FEEDS = {"a": normal(2, *SIZES)}


def model(
    *means: onnx.NodeProto, perm: list[int] = FRAMES, kept: int = 1, opset: int = 17, sizes: tuple[int, ...] = SIZES
) -> onnx.ModelProto:
    channels = sizes[perm[1] - 1]
    shape = ("n", channels, *(1,) * (len(sizes) - 1)) if kept else ("n", channels)
    nodes = [node("Transpose", "a", "t", perm=perm), *means]
    axes = {"axes": np.array([4, 2, -2])} if opset >= 18 else {}
    return graph(nodes, {"a": ("n", *sizes)}, {"y": shape}, axes, opset=opset)


MATCHES = {
    "frames first": model(node("ReduceMean", "t", "y", axes=[2, 3, 4])),
    "without the axes": model(node("ReduceMean", "t", "y", axes=[-1, 2, 3], keepdims=0), kept=0),
    "channels last": model(node("ReduceMean", "t", "y", axes=[2, 3, 4], keepdims=0), perm=FIRST, kept=0),
    "pooled": model(node("GlobalAveragePool", "t", "y"), perm=FIRST),
    "axes as an input": model(node("ReduceMean", "t axes", "y"), opset=18),
    "followed by more": model(node("GlobalAveragePool", "t", "m"), node("Relu", "m", "y")),
}


@pytest.mark.parametrize("name", MATCHES)
def test_the_mean_is_the_same_and_no_volume_is_transposed(name: str, tmp_path: Path) -> None:
    done = check_pass(MeanBeforeTranspose(), MATCHES[name], FEEDS, tmp_path, 1e-6)
    assert done.modified
    assert done.operators[0] == "ReduceMean"
    assert done.operators.count("ReduceMean") == 3


def test_an_image_is_averaged_too(tmp_path: Path) -> None:
    image = model(node("GlobalAveragePool", "t", "y"), perm=IMAGE_FIRST, sizes=(4, 5, 3))
    done = check_pass(MeanBeforeTranspose(), image, {"a": normal(2, 4, 5, 3)}, tmp_path, 1e-6)
    assert done.operators == ["ReduceMean", "ReduceMean", "Transpose"]


NEAR_MISSES = {
    "over space only": graph(
        [node("Transpose", "a", "t", perm=FRAMES), node("ReduceMean", "t", "y", axes=[3, 4], keepdims=0)],
        {"a": ("n", *SIZES)},
        {"y": ("n", 3, 2)},
        {},
        opset=17,
    ),
    "over the batch too": graph(
        [node("Transpose", "a", "t", perm=FRAMES), node("ReduceMean", "t", "y", axes=[0, 2, 3, 4], keepdims=0)],
        {"a": ("n", *SIZES)},
        {"y": (3,)},
        {},
        opset=17,
    ),
    "a Transpose of the network": model(
        node("ReduceMean", "t", "y", axes=[2, 3, 4], keepdims=0), perm=[0, 3, 1, 2, 4], kept=0
    ),
    "the volume is read by others": graph(
        [node("Transpose", "a", "t", perm=FRAMES), node("GlobalAveragePool", "t", "m"), node("Sub", "t m", "y")],
        {"a": ("n", *SIZES)},
        {"y": ("n", 3, 2, 4, 5)},
        {},
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_anything_else_stays(name: str) -> None:
    assert not rewrite(MeanBeforeTranspose(), NEAR_MISSES[name]).modified


def test_equal_numbers_of_a_large_volume_have_a_mean_with_little_rounding() -> None:
    sizes = (8, 4, 32, 32)
    large = model(node("ReduceMean", "t", "y", axes=[2, 3, 4], keepdims=0), kept=0, sizes=sizes)
    feeds = {"a": np.full((1, *sizes), 0.1, np.float32)}
    exact = float(np.float32(0.1))

    def error(which: onnx.ModelProto) -> float:
        (found,) = run_onnxruntime(which, feeds).values()
        return float(np.abs(found.astype(np.float64) - exact).max())

    done = rewrite(MeanBeforeTranspose(), large)
    assert error(done.model) <= 4 * np.finfo(np.float32).eps * exact
    assert error(done.model) < error(large) / 8
