"""Models with one fault: a weight that is off by 1 %, or another attribute."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

FACTOR = 1.01
CHANGES: dict[str, float] = {"alpha": 1.05, "beta": 1.05, "epsilon": 30.0}
"""{attribute of floating-point type: what it is multiplied by}."""
FLAGS = frozenset({"count_include_pad", "ceil_mode", "transB", "keepdims"})


def mutate(model: onnx.ModelProto, seed: int) -> tuple[onnx.ModelProto, str] | None:
    """Return a copy of a model with one fault, and the fault in words; None where there is nothing to change."""
    rng = np.random.default_rng(seed)
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    weights = [held for held in copy.graph.initializer if numpy_helper.to_array(held).dtype.kind == "f" and held.dims]
    attributes = [
        (node, attribute)
        for node in copy.graph.node
        for attribute in node.attribute
        if attribute.name in CHANGES or attribute.name in FLAGS or attribute.name == "pads"
    ]
    if weights and (not attributes or rng.random() < 0.6):
        held = weights[int(rng.integers(len(weights)))]
        array = numpy_helper.to_array(held)
        held.CopyFrom(numpy_helper.from_array((array * array.dtype.type(FACTOR)).astype(array.dtype), held.name))
        return copy, f"{held.name} times {FACTOR}"
    if not attributes:
        return None
    node, attribute = attributes[int(rng.integers(len(attributes)))]
    if attribute.type == AttributeProto.FLOAT:
        attribute.f *= CHANGES[attribute.name]
    elif attribute.type == AttributeProto.INTS:
        half = len(attribute.ints) // 2
        attribute.ints[:] = [*attribute.ints[half:], *attribute.ints[:half]]  # before and after change places
    else:
        attribute.i = 1 - attribute.i
    return copy, f"{attribute.name} of {node.op_type}"
