"""NumPy's arrays, dtypes and scalars, as a pickle describes them; of any NumPy version, and of Python 2.

Sources: in `numpy/_core`, `src/multiarray/methods.c` (`array_reduce`, `array_setstate`), `src/multiarray/descriptor.c`
(`arraydescr_reduce`), `numeric.py` (`_frombuffer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np

from models.checkpoints.contents import NotBuilt
from models.checkpoints.dtypes import BFLOAT16, NUMPY_DTYPES, DType
from models.checkpoints.file_tensor import FileBytes, FileTensor, contiguous, contiguous_stride, is_possible
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.plain import as_view
from models.checkpoints.pickles.storages import as_sizes, charge_copy, shown_sizes
from models.checkpoints.pickles.values import Global, UnbuiltObject

JAX_BFLOAT16 = Global("ml_dtypes", "bfloat16")
"""What JAX's arrays name as their dtype."""

TEXTS = "SU"
"""First letters of the codes of bytes and texts."""


@dataclass(eq=False, repr=False)
class ArrayDtype(NotBuilt):
    """A NumPy dtype.

    Attributes:
        code: such as `f4`; `structured` for records, whatever it was.
        big_endian: its byte order.
    """

    code: str = ""
    big_endian: bool = False

    @property
    def torch(self) -> DType | None:
        """PyTorch's dtype of the same numbers, None if there is none."""
        return BFLOAT16 if self.code == "bfloat16" else NUMPY_DTYPES.get(self.code)

    def set_state(self, state: object) -> None:
        """Take what NumPy saves beside the code: (version, byte order, subarray, names, fields, …)."""
        match state:
            case [int(), str(order), subarray, names, fields, *_]:
                self.big_endian = order == ">"
                if subarray is not None or names is not None or fields is not None:
                    self.code = "structured"
                    self.parts.append(state)
            case _:
                raise PickleError("a NumPy dtype has a state that NumPy does not write")


@dataclass(eq=False)
class ArrayValue:
    """A NumPy array.

    Attributes:
        dtype: its dtype; None until its state is known.
        shape: its sizes.
        content: its bytes, one of Python 2's strings, or a list of objects.
        axes: order of the axes in memory; None for C order.
    """

    dtype: ArrayDtype | None = None
    shape: tuple[int, ...] = ()
    content: object = None
    axes: tuple[int, ...] | None = None

    def set_state(self, state: object) -> None:
        """Take what NumPy saves of an array: (version, shape, dtype, is Fortran, content), or without the version.

        Raises:
            PickleError: the state is another.
        """
        match state:
            case [int(), shape, ArrayDtype() as dtype, bool() | int() as fortran, content]:
                pass
            case [shape, ArrayDtype() as dtype, bool() | int() as fortran, content]:
                pass
            case _:
                raise PickleError("a NumPy array has a state that NumPy does not write")
        self.dtype, self.shape, self.content = dtype, as_sizes(shape), content
        self.axes = tuple(reversed(range(len(self.shape)))) if fortran else None

    def resolve(self, budget: Budget) -> FileTensor | UnbuiltObject:
        """Return the array as a tensor, or as a placeholder if it holds no plain numbers.

        Raises:
            PickleError: its bytes are not as many as its shape and dtype say.
        """
        if self.dtype is None:
            raise PickleError("a NumPy array has no values")
        dtype = self.dtype.torch
        if dtype is None:
            return UnbuiltObject("numpy.ndarray", [self.dtype, self.content])
        raw = as_view(self.content, budget)
        if raw is None or raw.nbytes != prod(self.shape) * dtype.itemsize:
            held = "no bytes" if raw is None else f"{raw.nbytes} bytes"
            raise PickleError(f"a NumPy array of shape {shown_sizes(self.shape)} and {dtype} has {held}")
        if not is_possible(dtype, self.shape):
            raise PickleError(f"a NumPy array of shape {shown_sizes(self.shape)} is beyond what torch can describe")
        data = FileBytes(raw, self.dtype.big_endian)
        charge_copy(data, dtype, budget)
        if self.axes is None:
            return contiguous(dtype, self.shape, data)
        stored = [0] * len(self.shape)
        for axis, position in enumerate(self.axes):
            stored[position] = self.shape[axis]
        steps = contiguous_stride(tuple(stored))
        return FileTensor(dtype, self.shape, tuple(steps[position] for position in self.axes), data)


def build_dtype(arguments: list[object], budget: Budget) -> object:
    """`numpy.dtype(code, align, copy)`."""
    match arguments:
        case [str(code), *_]:
            return ArrayDtype("numpy.dtype", [], code.lstrip("|<>="), code.startswith(">"))
        case [Global() as cls, *_]:
            return ArrayDtype("numpy.dtype", [], "bfloat16" if cls == JAX_BFLOAT16 else cls.display_name)
        case _:
            return None


def build_array(arguments: list[object], budget: Budget) -> object:
    """`numpy.core.multiarray._reconstruct(class, (0,), b"b")`: an empty array, whose state follows."""
    match arguments:
        case [Global(), list(), bytes() | str()]:
            return ArrayValue()
        case _:
            return None


def build_from_buffer(arguments: list[object], budget: Budget) -> object:
    """`numpy.core.numeric._frombuffer(buffer, dtype, shape, order, axes)`: an array of protocol 5."""
    match arguments:
        case [bytes() | memoryview() as content, ArrayDtype() as dtype, list() as shape, str(order), *rest]:
            sizes = as_sizes(cast("list[object]", shape))
            axes: tuple[int, ...] | None = None
            if order == "F":
                axes = tuple(reversed(range(len(sizes))))
            elif order == "K" and rest and rest[0] is not None:
                axes = as_sizes(rest[0])
                if sorted(axes) != list(range(len(sizes))):
                    raise PickleError("a NumPy array has an order of axes that is no permutation")
                sizes = tuple(sizes[axis] for axis in axes)
            return ArrayValue(dtype, sizes, content, axes)
        case _:
            return None


def build_scalar(arguments: list[object], budget: Budget) -> object:
    """`numpy.core.multiarray.scalar(dtype, bytes)`: read as Python's number."""
    match arguments:
        case [ArrayDtype(code="O"), value]:
            return value
        case [ArrayDtype() as dtype, content]:
            raw = as_view(content, budget)
            if raw is None:
                return None
            if dtype.code[:1] in TEXTS:
                return _text(dtype, bytes(raw))
            if dtype.torch is None:
                return None
            if raw.nbytes != dtype.torch.itemsize:
                raise PickleError(f"a NumPy scalar of {dtype.torch} has {raw.nbytes} bytes")
            return _number(dtype, raw)
        case _:
            return None


def _number(dtype: ArrayDtype, raw: memoryview) -> object:
    """Return one number as Python's."""
    order = ">" if dtype.big_endian else "<"
    if dtype.torch == BFLOAT16:  # the upper half of a float32
        return (np.frombuffer(raw, f"{order}u2").astype(np.uint32) << 16).view(np.float32)[0].item()
    return np.frombuffer(raw, order + dtype.code)[0].item()


def _text(dtype: ArrayDtype, raw: bytes) -> str | bytes:
    if dtype.code[0] == "S":
        return raw
    try:
        text = raw.decode("utf-32-be" if dtype.big_endian else "utf-32-le", "backslashreplace")
    except UnicodeError as error:
        raise PickleError("a NumPy text is damaged") from error
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_CORE = ("numpy.core", "numpy._core")

CONSTRUCTORS = {
    ("numpy", "dtype"): build_dtype,
    **{(f"{core}.multiarray", "_reconstruct"): build_array for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): build_scalar for core in _CORE},
    **{(f"{core}.numeric", "_frombuffer"): build_from_buffer for core in _CORE},
}
"""{(module, name): constructor}."""
