"""Upsample as a Resize, which onnx's evaluator computes axis by axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from exporter.engines.reference.node import Node, make_node
from exporter.engines.reference.single_node import in_onnx


def upsample(node: Node, x: Any, scales: Any = None) -> Any:
    """Enlarge by nearest neighbours or linearly; output positions are divided by the scale."""
    factors = np.asarray(node.attributes["scales"] if scales is None else scales, np.float32)
    resize = helper.make_node(
        "Resize",
        ["x", "", "scales"],
        ["y"],
        mode=node.attributes.get("mode", "nearest"),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return in_onnx(make_node(resize, {"": 13}))([x, None, factors])[0]
