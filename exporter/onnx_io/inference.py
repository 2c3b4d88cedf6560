"""onnx's shape inference on a message, watched: it recurses into graphs and functions of untrusted files."""

from __future__ import annotations

import onnx

from exporter.isolation.worker import native_call


def infer_shapes(model: onnx.ModelProto, *, strict_mode: bool = False, data_prop: bool = False) -> onnx.ModelProto:
    """Return a copy of a model with what onnx infers of its values' types and shapes.

    Args:
        model: the model, of less than 2 GiB.
        strict_mode: raise an error where something contradicts; otherwise it is left out.
        data_prop: also compute the values of small constants.

    Raises:
        InferenceError, RuntimeError, ValueError: as onnx does.
    """
    with native_call("onnx's shape inference"):
        return onnx.shape_inference.infer_shapes(model, strict_mode=strict_mode, data_prop=data_prop)
