"""Copies of a model with other numbers in its stored weights."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.graphs import graph, node, normal, save
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from exporter.onnx_io.stored_weights import DATA_FILE, find_stored_weights, write_changed


def test_each_copy_has_the_changed_weights_and_replaces_the_one_before(tmp_path: Path) -> None:
    half = normal(64, 64).astype(np.float16)
    nodes = [node("Cast", "half", "w", to=TensorProto.FLOAT), node("MatMul", "x w", "a"), node("MatMul", "a v", "y")]
    weights = {"half": half, "v": normal(64, 64)}
    model = save(tmp_path / "m.onnx", graph(nodes, {"x": ("n", 64)}, {"y": ("n", 64)}, weights))
    names, folder = find_stored_weights(model), tmp_path / "copies"
    folder.mkdir()
    assert names == {"half"}
    sizes: list[int] = []
    for factor in (2, 4):
        copy = write_changed(model, lambda weight, factor=factor: weight * np.float16(factor), folder, names=names)
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(copy).graph.initializer}
        np.testing.assert_array_equal(found["half"], half * np.float16(factor))
        np.testing.assert_array_equal(found["v"], weights["v"])
        sizes.append((folder / DATA_FILE).stat().st_size)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("stored", "restored"),
    [
        (normal(64, 64).astype(np.float16), node("Cast", "v", "w", to=TensorProto.FLOAT)),
        (normal(64, 64).astype(np.int8), node("DequantizeLinear", "v s", "w")),
    ],
    ids=["float16", "int8"],
)
def test_a_stored_weight_with_the_name_of_a_constant_inside_a_subgraph(
    stored: NDArray[Any], restored: onnx.NodeProto, tmp_path: Path
) -> None:
    """onnxruntime loads such a file; its weights must not count as what it computes in."""
    inner = [numpy_helper.from_array(np.zeros(1, np.float32), "v")]
    result = [onnx.helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])]
    other = onnx.helper.make_graph([node("Constant", "", "o", value=inner[0])], "g", [], result, inner)
    nodes = [
        restored,
        onnx.helper.make_node("If", ["c"], ["z"], then_branch=other, else_branch=other),
        node("MatMul", "x w", "a"),
        node("Add", "a z", "y"),
    ]
    weights = {"v": stored, "s": np.array(0.1, np.float32), "c": np.array(True)}
    path = save(tmp_path / "m.onnx", graph(nodes, {"x": ("n", 64)}, {"y": ("n", 64)}, weights, 18))
    onnxruntime.InferenceSession(path)
    assert find_stored_weights(path) == {"v"}
