"""Reading and editing graphs."""

import numpy as np
import onnx_ir as ir
from helpers.graphs import graph, node, normal

from exporter.passes.graph import read_array, replace_constant


def test_a_constant_is_replaced_by_others_under_its_name() -> None:
    weight, stored, scale = normal(6, 5), np.ones((6, 5), np.int8), np.array(0.5, np.float32)
    model = ir.from_proto(graph([node("MatMul", "x w", "y")], {"x": ("n", 4, 6)}, {"y": ("n", 4, 5)}, {"w": weight}))
    product = model.graph[0]
    assert np.array_equal(read_array(product.inputs[1]), weight)
    values = replace_constant(model, product, 1, values=stored, scale=scale)
    assert product.inputs[1] is None
    assert [*model.graph.initializers] == [value.name for value in values] == ["w", "w.scale"]
    assert np.array_equal(read_array(values[0]), stored)
