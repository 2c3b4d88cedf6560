"""Single operators in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray


def run_node(
    node: onnx.NodeProto, inputs: Mapping[str, NDArray[Any]], opset: int, output: str | None = None
) -> NDArray[Any]:
    """Run one operator as the float64 reference does, and return one of its outputs.

    Args:
        node: the operator.
        inputs: {input: array}; every input of the node that is not empty.
        opset: of the model.
        output: the output; None for the first.
    """
    from exporter.engines.reference.node import make_node
    from exporter.engines.reference.operators import Choice, Operator

    operator = Operator(make_node(node, {"": opset}), Choice("float64"), {})
    outputs = operator.run([inputs[name] if name else None for name in node.input], {})
    return np.asarray(outputs[0 if output is None else [*node.output].index(output)])
