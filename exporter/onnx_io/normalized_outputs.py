"""Which outputs of an ONNX graph are probabilities already."""

from __future__ import annotations

import onnx

PROBABILITY_OPERATORS = ("Softmax", "Sigmoid")
SAME_VALUES = ("Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that leave the numbers as they are."""


def normalized_outputs(model: onnx.ModelProto) -> frozenset[str]:
    """Return the names of the outputs that a softmax or sigmoid computes, also where others reshape it."""
    producers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for value in model.graph.output:
        node = producers.get(value.name)
        while node is not None and node.op_type in SAME_VALUES:
            node = producers.get(node.input[0])
        if node is not None and node.op_type in PROBABILITY_OPERATORS:
            found.add(value.name)
    return frozenset(found)
