"""Shapes of a model's values, by onnx's shape inference.

A size is an `int`, a string where the graph names it (`batch`), or None where it is unknown. A shape is None where the
rank is unknown.
"""

import contextlib
from collections.abc import Generator

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from exporter.foreign_logging import suppress_foreign_logging
from exporter.isolation.worker import native_call
from exporter.onnx_io.onnx_passes import run_onnx_pass

Size = int | str | None
"""The size of one axis."""


def infer_shapes(model: ir.Model, *, outputs: bool = False) -> None:
    """Set the inferred shapes and dtypes of a model's values, in place; constants are propagated.

    The graph's inputs keep the declared ones, and so do its outputs unless `outputs`. Weights are not copied.
    """
    restoring = contextlib.nullcontext() if outputs else preserve_signature(model)
    with suppress_foreign_logging(), restoring, native_call("onnx's shape inference"):
        run_onnx_pass(ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True), model)


@contextlib.contextmanager
def preserve_signature(model: ir.Model) -> Generator[None]:
    """Restore the declared shapes and types of the graph's inputs and outputs after the block."""
    declared = [(value.shape, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
    try:
        yield
    finally:
        for value, (shape, type_) in zip((*model.graph.inputs, *model.graph.outputs), declared, strict=True):
            value.shape, value.type = shape, type_


def get_shape(value: ir.Value | None) -> tuple[Size, ...] | None:
    """Return a value's shape, or None where its rank is unknown."""
    if value is None:
        return None
    tensor = value.const_value
    if tensor is not None:
        return tuple(tensor.shape.numpy())
    if value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else size.value for size in value.shape)
