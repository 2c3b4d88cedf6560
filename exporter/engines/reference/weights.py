"""Initialisers, cast when a node reads them."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, NoReturn

import onnx
from onnx import numpy_helper

KEPT_BYTES = 1 << 30
"""Cast weights are kept up to this many bytes; the others are cast at every use, so that memory holds them once."""


class Weights(MutableMapping[str, Any]):
    """{name: array in the evaluator's dtype}, read-only."""

    def __init__(self, arrays: Mapping[str, Any], cast: Callable[[Any], Any]) -> None:
        """Keep the arrays as they are; `cast` converts one."""
        self._arrays, self._cast = arrays, cast
        self._kept: dict[str, Any] = {}
        self._kept_bytes = 0

    @classmethod
    def of_graph(cls, graph: onnx.GraphProto, cast: Callable[[Any], Any]) -> Weights:
        """Return the initialisers that are inside a graph."""
        return cls({tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}, cast)

    def __getitem__(self, name: str) -> Any:
        if name in self._kept:
            return self._kept[name]
        array = self._arrays[name]
        cast = self._cast(array)
        if self._kept_bytes + cast.nbytes <= KEPT_BYTES:
            if cast is array and not cast.flags.writeable:
                cast = cast.copy()  # torch shares no memory with read-only arrays
            self._kept[name], self._kept_bytes = cast, self._kept_bytes + cast.nbytes
        if cast is not array:
            _release(array)
        return cast

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __setitem__(self, name: str, value: Any) -> NoReturn:
        raise TypeError("weights are read-only")

    def __delitem__(self, name: str) -> NoReturn:
        raise TypeError("weights are read-only")


def _release(array: Any) -> None:
    """Let the pages of an array that is mapped from a file leave memory; they are read again when needed."""
    mapped = array.base
    if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)
