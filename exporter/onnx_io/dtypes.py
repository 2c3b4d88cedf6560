"""Names of ONNX element types, as NumPy and torch spell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx import TensorProto, helper

if TYPE_CHECKING:
    import numpy as np

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
"""The element types that hold floating-point numbers of 16 bits or more."""
FLOAT16_MAX = 65504.0
"""The largest number of float16."""
_NUMPY_NAMES = {"float": "float32", "double": "float64"}
_ONNX_NAMES = {numpy: onnx for onnx, numpy in _NUMPY_NAMES.items()}


def numpy_name(name: str) -> str:
    """Return NumPy's name of a dtype that ONNX spells in lower case: `float` is `float32`."""
    return _NUMPY_NAMES.get(name, name)


def dtype_name(element_type: int) -> str:
    """Return NumPy's name of an ONNX element type, or `type 99` for one that ONNX does not have."""
    try:
        return numpy_name(TensorProto.DataType.Name(element_type).lower())
    except ValueError:
        return f"type {element_type}"


def element_type(name: str) -> int:
    """Return the ONNX element type of a name that `dtype_name` returns.

    Raises:
        ValueError: ONNX has no such type.
    """
    return TensorProto.DataType.Value(_ONNX_NAMES.get(name, name).upper())


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a name that `dtype_name` returns; of bfloat16 and smaller types, that of ml_dtypes.

    Raises:
        ValueError: ONNX has no such type.
    """
    return helper.tensor_dtype_to_np_dtype(element_type(name))
