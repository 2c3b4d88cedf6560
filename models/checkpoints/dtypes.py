"""torch's dtypes by name and size: files are parsed without torch, which takes over a second to import."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DType:
    """A dtype of torch.

    Attributes:
        name: its name in the module `torch`.
        itemsize: bytes of one number.
        quantised: whether its numbers mean something with a scale only; they are not read.
    """

    name: str
    itemsize: int
    quantised: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def swapped_size(self) -> int:
        """Bytes that are in the other order on a machine of the other byte order: a complex number has two parts."""
        return self.itemsize // 2 if self.name.startswith("complex") else self.itemsize


_SIZES = {
    8: "float64 int64 uint64 complex64",
    4: "float32 int32 uint32 complex32",
    2: "float16 bfloat16 int16 uint16",
    1: "int8 uint8 bool float8_e5m2 float8_e4m3fn float8_e5m2fnuz float8_e4m3fnuz float8_e8m0fnu",
    16: "complex128",
}

_ALIASES = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "cdouble": "complex128",
    "cfloat": "complex64",
    "chalf": "complex32",
}

_NAMED = {name: DType(name, size) for size, names in _SIZES.items() for name in names.split()}

DTYPES = _NAMED | {alias: _NAMED[name] for alias, name in _ALIASES.items()}
"""{name in the module `torch`: dtype}, without the quantised ones."""

QUANTISED = {
    name: DType(name, size, quantised=True)
    for name, size in {"qint8": 1, "qint32": 4, "quint8": 1, "quint4x2": 1, "quint2x4": 1}.items()
}

BFLOAT16 = DTYPES["bfloat16"]
FLOAT16 = DTYPES["float16"]
FLOAT32 = DTYPES["float32"]
FLOAT64 = DTYPES["float64"]
INT32 = DTYPES["int32"]
INT64 = DTYPES["int64"]
UINT8 = DTYPES["uint8"]

NUMPY_DTYPES = {
    np.dtype(name).str[1:]: dtype
    for name, dtype in _NAMED.items()
    if name not in ("bfloat16", "complex32") and not name.startswith("float8")
}
"""{NumPy's code without byte order: the dtype of the same numbers}."""


def from_numpy(dtype: np.dtype[np.generic]) -> DType | None:
    """Return the dtype of the same numbers as one of NumPy, whatever its byte order; None where torch has none."""
    return NUMPY_DTYPES.get(f"{dtype.kind}{dtype.itemsize}")
