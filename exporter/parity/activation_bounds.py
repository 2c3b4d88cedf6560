"""The numbers at which the activations of a reference end.

A quantiser leaves out an activation whose limits are the ends of the range that follows it: Clip(-1, 1) before a range
from -1 to 1. Such a range is part of the function; others only cut off what calibration has not seen. Which bounds
there may be is read from the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from exporter.onnx_io.attributes import get_attributes
from exporter.onnx_io.file_graph import FileGraph
from exporter.onnx_io.weights import read_weights
from exporter.parity.sources import FileSource, GoldenSource

RELU, RELU6 = 0.0, 6.0
LIMITING = ("Clip", "Max", "Min")
MAX_BOUND = 1e30
"""A larger bound limits nothing: it stands for none."""


def read_bounds(source: GoldenSource) -> tuple[float, ...]:
    """Return the bounds of a reference's activations, in order; those of ReLU and ReLU6 where no graph shows them.

    Raises:
        ArtifactError: the reference's file is unreadable.
    """
    if not (isinstance(source, FileSource) and source.format == "onnx"):
        return (RELU, RELU6)
    found = {RELU, *([RELU6] if source.precision == "int8" else [])}  # a file in int8 may have left its own out
    found |= {float(bound) for bound in _find_bounds(FileGraph.load(source.path))}
    return tuple(sorted(bound for bound in found if abs(bound) < MAX_BOUND))


def _find_bounds(graph: FileGraph) -> Iterator[Any]:
    limiting = [node for node in graph.nodes if node.op_type in LIMITING]
    read = {name for node in limiting for name in node.input}
    bounds = {name: tensor for name, tensor in graph.named_tensors if name in read and prod(tensor.dims) == 1}
    for _, values in read_weights(graph.model, bounds, graph.path):
        yield values.reshape(())
    for node in limiting:
        attributes = get_attributes(node)
        yield from (attributes[name] for name in ("min", "max") if name in attributes)
