"""What is known of a model's shapes: onnx's own inference, and how passes ask for it.

A size is an `int`, or a string where the graph gives it a name (`batch`), or None where nothing is known. A shape is
None where not even the rank is known; passes leave such values alone.
"""

import contextlib
from collections.abc import Generator

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from exporter.foreign_logging import suppress_foreign_logging

Size = int | str | None
"""Of one dimension."""


def infer_shapes(model: ir.Model) -> None:
    """Fill in the shapes and dtypes of values, with constants propagated; what cannot be inferred stays unknown.

    The graph's own inputs and outputs keep what they state. Weights are not copied.
    """
    with suppress_foreign_logging(), as_stated(model):
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


@contextlib.contextmanager
def as_stated(model: ir.Model) -> Generator[None]:
    """Keep what the graph's own inputs and outputs state, whatever is inferred meanwhile."""
    stated = [(value.shape, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
    try:
        yield
    finally:
        for value, (shape, kind) in zip((*model.graph.inputs, *model.graph.outputs), stated, strict=True):
            value.shape, value.type = shape, kind


def shape_of(value: ir.Value | None) -> tuple[Size, ...] | None:
    """Return a value's shape, or None where its rank is unknown."""
    if value is None:
        return None
    tensor = value.const_value
    if tensor is not None:
        return tuple(tensor.shape.numpy())
    if value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else size.value for size in value.shape)


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return a value's shape where every size is a number."""
    shape = shape_of(value)
    if shape is None:
        return None
    sizes = tuple(size for size in shape if isinstance(size, int))
    return sizes if len(sizes) == len(shape) else None
