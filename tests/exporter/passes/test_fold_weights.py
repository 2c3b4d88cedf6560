"""Weights that a graph computes from constants become initialisers, unless that makes the file larger."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite

from exporter.passes.base import run_passes
from exporter.passes.fold_weights import FoldWeights
from exporter.passes.pipelines import portable_passes
from exporter.passes.winograd.rewrite import Winograd

INPUT = {"x": ("n", 4, 3, 5, 5)}
FEEDS = {"x": normal(2, 4, 3, 5, 5)}
TOLERANCE = 2e-6
"""One rounding of the weights and one float32 sum."""
KERNEL = normal(6, 4, 3, 3, 3)
AXES = np.array([1, 2, 3, 4])


def layer(*chain: onnx.NodeProto, opset: int = 18, inputs: str = "x w", **weights: Any) -> onnx.ModelProto:
    """A convolution whose weights `w` a chain computes."""
    conv = node("Conv", inputs, "y", pads=[1] * 6)
    return graph([*chain, conv], INPUT, {"y": ("n", 6, 3, 5, 5)}, {"v": KERNEL, **weights}, opset)


NORMALISED = layer(
    node("ReduceL2", "v axes", "length"), node("Div", "v length", "d"), node("Mul", "g d", "w"),
    g=normal(6, 1, 1, 1, 1), axes=AXES,
)  # fmt: skip
STANDARDISED = [
    node("ReduceMean", "v", "mean", axes=[1, 2, 3, 4]),
    node("Sub", "v mean", "c"),
    node("Mul", "c c", "sq"),
    node("ReduceMean", "sq", "var", axes=[1, 2, 3, 4]),
    node("Add", "var eps", "e"),
    node("Sqrt", "e", "s"),
    node("Div", "c s", "w"),
]
MATCHES = {
    "weight normalisation": NORMALISED,
    "weight standardisation": layer(*STANDARDISED, opset=17, eps=np.array(1e-5, np.float32)),
    "a transposed kernel": layer(node("Transpose", "k", "w", perm=[4, 3, 0, 1, 2]), k=normal(3, 3, 3, 4, 6)),
    "a computed bias": layer(node("Mul", "b two", "c"), inputs="x v c", b=normal(6), two=np.array(2, np.float32)),
}


@pytest.mark.parametrize("name", MATCHES)
def test_computed_weights_are_an_initialiser(name: str, tmp_path: Path) -> None:
    done = check_pass(FoldWeights(), MATCHES[name], FEEDS, tmp_path, TOLERANCE)
    assert done.modified
    assert done.operators == ["Conv"]
    assert [row.action for row in done.step.decisions] == ["weights folded"]


def test_weights_are_computed_in_float64_and_rounded_once() -> None:
    v, g = KERNEL.astype(np.float64), normal(6, 1, 1, 1, 1).astype(np.float64)
    exact = g * (v / np.sqrt((v * v).sum((1, 2, 3, 4), keepdims=True)))
    assert np.array_equal(rewrite(FoldWeights(), NORMALISED).weight("w.folded"), exact.astype(np.float32))


def test_a_normalised_layer_takes_the_batch_norm_after_it() -> None:
    statistics = {
        name: np.abs(normal(6, seed=seed)) + 0.5 for seed, name in enumerate(("gamma", "beta", "mean", "var"))
    }
    model = onnx.ModelProto.FromString(NORMALISED.SerializeToString())
    model.graph.node[-1].output[0] = "conv"
    model.graph.node.append(node("BatchNormalization", "conv gamma beta mean var", "y"))
    model.graph.initializer.extend(onnx.numpy_helper.from_array(held, name) for name, held in statistics.items())
    loaded = ir.from_proto(model)
    assert run_passes(loaded, portable_passes()).modified
    assert [made.op_type for made in loaded.graph] == ["Conv"]


def test_a_chain_that_something_else_reads_stays_for_that(tmp_path: Path) -> None:
    model = layer(node("Mul", "v two", "w"), node("ReduceSum", "w", "z", keepdims=0), two=np.array(2, np.float32))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, []))
    done = check_pass(FoldWeights(), model, FEEDS, tmp_path, TOLERANCE)
    assert "Mul" not in done.operators
    assert "v" not in {held.name for held in done.model.graph.initializer}


NEAR_MISSES = {
    "weights of fewer bits": layer(
        node("Cast", "q", "f", to=1), node("Mul", "f s", "w"), q=np.ones(KERNEL.shape, np.int8), s=normal(1)
    ),
    "larger than what they are made of": graph(
        [node("Expand", "one shape", "w"), node("Conv", "x w", "y", pads=[1] * 6)],
        {"x": ("n", 16, 3, 5, 5)},
        {"y": ("n", 6, 3, 5, 5)},
        {"one": normal(1, 1, 1, 1, 1), "shape": np.array([6, 16, 3, 3, 3])},
    ),
    "weights that depend on the input": layer(node("ReduceMean", "x", "m", keepdims=0), node("Mul", "v m", "w")),
    "a layout alone": layer(
        node("Reshape", "flat shape", "w"), flat=KERNEL.reshape(6, -1), shape=np.array([6, 4, 3, 3, 3])
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_others_stay(name: str) -> None:
    assert not rewrite(FoldWeights(), NEAR_MISSES[name]).modified


def test_the_weights_of_a_rewritten_convolution_stay_as_trained() -> None:
    held = {"w": normal(64, 64, 3, 3, 3)}
    model = graph([node("Conv", "x w", "y", pads=[1] * 6)], {"x": ("n", 64, 8, 28, 28)}, {"y": ("n", *"abcd")}, held)
    loaded = ir.from_proto(model)
    assert run_passes(loaded, [Winograd()]).modified
    assert not run_passes(loaded, [FoldWeights()]).modified
