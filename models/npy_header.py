"""The header of NumPy's `.npy` format: what an array claims to be, before anything is allocated for it."""

import tokenize
from typing import IO

import numpy as np
from numpy.lib import format as npy

HEADER_ERRORS = (ValueError, TypeError, OverflowError, SyntaxError, RecursionError)
"""Errors that reading a header may raise: NumPy parses it as a Python literal, and does not catch what Python's parser
raises."""


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Read the header of a `.npy`: shape, whether it is in Fortran's order, and dtype.

    Raises:
        ValueError: no such header; or another of `HEADER_ERRORS`.
    """
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, fortran, dtype = read(stream)
    except (tokenize.TokenError, MemoryError):  # Python's parser raises the second where nesting is too deep
        raise ValueError("its header is no Python literal") from None
    if any(type(size) is not int or size < 0 for size in shape):  # NumPy takes True for an int, and -1
        raise ValueError(f"it claims the shape {shape}")
    return shape, fortran, dtype
