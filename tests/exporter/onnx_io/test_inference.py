"""Shape inference of models whose weights are in a file."""

from pathlib import Path

import numpy as np
import onnx
from helpers.graphs import graph, node

from exporter.onnx_io.inference import infer_shapes
from exporter.onnx_io.load import INLINE_BELOW, load_without_weights


def test_the_values_of_external_weights_are_not_needed(tmp_path: Path) -> None:
    """A table of whole numbers that Gather looks up, as for the columns of a resized frame."""
    table = np.arange(INLINE_BELOW // 8)
    nodes = [node("Gather", "table index", "row"), node("Cast", "row", "value", to=1), node("Add", "value x", "y")]
    onnx.save(graph(nodes, {"x": (2, 3)}, {"y": None}, {"table": table, "index": np.array([2])}), tmp_path / "m.onnx")
    model = load_without_weights(tmp_path / "m.onnx")
    assert [tensor.data_location for tensor in model.graph.initializer] == [onnx.TensorProto.EXTERNAL, 0]
    inferred = infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {value.name: len(value.type.tensor_type.shape.dim) for value in inferred.graph.value_info}
    assert shapes == {"row": 1, "value": 1}
    assert inferred.graph.initializer == model.graph.initializer
    assert inferred.graph.input == model.graph.input
