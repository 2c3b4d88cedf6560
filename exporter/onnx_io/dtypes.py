"""Names of ONNX element types, as NumPy and torch spell them."""

from onnx import TensorProto

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
"""The element types that hold floating-point numbers of 16 bits or more."""
_NUMPY_NAMES = {"float": "float32", "double": "float64"}


def numpy_name(name: str) -> str:
    """Return NumPy's name of a dtype that ONNX spells in lower case: `float` is `float32`."""
    return _NUMPY_NAMES.get(name, name)


def dtype_name(element_type: int) -> str:
    """Return NumPy's name of an ONNX element type, or `type 99` for one that ONNX does not have."""
    try:
        return numpy_name(TensorProto.DataType.Name(element_type).lower())
    except ValueError:
        return f"type {element_type}"
