"""Copies of a model with other numbers in its stored weights."""

from pathlib import Path

import numpy as np
import onnx
from helpers.graphs import graph, node, normal, save
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
