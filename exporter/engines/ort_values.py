"""Arrays of types that onnxruntime does not take from or return to NumPy: bfloat16 and those of 8 bits or fewer."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime

ELEMENT_TYPES = {
    "bfloat16": 16,
    "float8_e4m3fn": 17,
    "float8_e4m3fnuz": 18,
    "float8_e5m2": 19,
    "float8_e5m2fnuz": 20,
    "uint4": 21,
    "int4": 22,
    "float4_e2m1fn": 23,
    "float8_e8m0fnu": 24,
    "uint2": 25,
    "int2": 26,
}
"""{ml_dtypes' name: the value of ONNX's enumeration `TensorProto.DataType`}."""
_BITS = {"uint4": 4, "int4": 4, "float4_e2m1fn": 4, "uint2": 2, "int2": 2}
"""Types of which several elements share a byte, the first in its lowest bits."""
_ORT_NAMES = {f"tensor({name.replace('_', '')})": name for name in ELEMENT_TYPES} | {
    "tensor(float4e2m1)": "float4_e2m1fn",
    "tensor(float8e8m0)": "float8_e8m0fnu",
}


def run_session(session: onnxruntime.InferenceSession, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
    """Return the outputs `names` of a session, of which some inputs or outputs may have no counterpart in NumPy.

    Raises:
        Exception: whatever onnxruntime raises.
    """
    special = any(is_special(node.type) for node in session.get_outputs())
    if not special and not any(_dtype_name(value) in ELEMENT_TYPES for value in feeds.values()):
        outputs: Any = session.run(names, feeds)
        return list(outputs)
    values = {name: to_ort_value(value) for name, value in feeds.items()}
    return [to_array(value) for value in session.run_with_ort_values(names, values)]


def _dtype_name(value: Any) -> str:
    return value.dtype.name if isinstance(value, np.ndarray) else ""


def is_special(ort_type: str) -> bool:
    """Return whether a type such as `tensor(bfloat16)` has no counterpart in NumPy."""
    return ort_type in _ORT_NAMES


def to_ort_value(values: NDArray[Any]) -> Any:
    """Return an `OrtValue` with a copy of an array, of one of NumPy's dtypes or ml_dtypes'."""
    import onnxruntime

    name = values.dtype.name
    if name not in ELEMENT_TYPES:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values))
    made: Any = onnxruntime.OrtValue.ortvalue_from_shape_and_type([*values.shape], ELEMENT_TYPES[name])
    data = np.ascontiguousarray(values).view(np.uint8)
    if name in _BITS:
        data = _pack(data.reshape(-1), _BITS[name])
    ctypes.memmove(made.data_ptr(), data.tobytes(), data.nbytes)
    return made


def to_array(value: Any) -> Any:
    """Return what an `OrtValue` holds as an array of NumPy's or ml_dtypes' dtypes; what is no tensor as it is."""
    name = _ORT_NAMES.get(value.data_type())
    if name is None:
        return value.numpy() if value.is_tensor() else value
    dtype = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    data = np.frombuffer(ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()), np.uint8)
    shape = tuple(value.shape())
    if name in _BITS:
        return _unpack(data, _BITS[name], int(np.prod(shape)), signed=name.startswith("int")).view(dtype).reshape(shape)
    return data.copy().view(dtype).reshape(shape)


def _pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    count = 8 // bits
    padded = np.resize(values & (2**bits - 1), -(-values.size // count) * count).reshape(-1, count)
    return np.bitwise_or.reduce(padded << (np.arange(count, dtype=np.uint8) * np.uint8(bits)), axis=1)


def _unpack(data: NDArray[np.uint8], bits: int, size: int, *, signed: bool) -> NDArray[np.uint8]:
    count = 8 // bits
    values = (data[:, None] >> (np.arange(count, dtype=np.uint8) * np.uint8(bits))) & np.uint8(2**bits - 1)
    flat = values.reshape(-1)[:size]
    negative = flat >= 2 ** (bits - 1)
    return np.where(negative, flat | np.uint8(256 - 2**bits), flat).astype(np.uint8) if signed else flat.copy()
