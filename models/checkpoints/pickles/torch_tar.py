"""PyTorch's format before 0.1.10: a tar archive of `sys_info`, `pickle`, `tensors` and `storages`.

`storages` holds pickles and raw values in turns: the number of storages; for each a pickle of (key, location, class),
the number of its values in eight bytes, and the values; in the end a pickle of the views, (key, key of the storage,
offset, number of values). `tensors` holds their number; for each a pickle of (key, storage's key, class), the number of
its axes in eight bytes, then eight bytes for each size, each stride, and the offset. `pickle` is the content; its
persistent ids are the keys, as text. Source: `legacy_load` in `torch/serialization.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.legacy import Run
from models.checkpoints.pickles.machine import no_persistent
from models.checkpoints.pickles.storages import (
    MAX_AXES,
    Storage,
    StorageData,
    TensorValue,
    make_tensor,
    storage_dtype,
)

MEMBERS = ("storages", "tensors", "pickle")

_WORD = 8


def read_tar(run: Run, members: Mapping[str, memoryview]) -> object:
    """Return the content of an archive with these members.

    Raises:
        PickleError: damaged, truncated, or a tensor lies outside its storage.
    """
    objects: dict[int, Storage | TensorValue | None] = {}
    _read_storages(_Stream(members["storages"], run), objects)
    _read_tensors(_Stream(members["tensors"], run), objects)

    def find(identifier: object) -> object:
        match identifier:
            case str() if identifier.isdecimal() and len(identifier) <= 20 and int(identifier) in objects:
                return objects[int(identifier)]
            case [cls, *_]:
                return cls  # a pickled module's class, and its source code
            case _:
                raise PickleError("a persistent id names no tensor of the archive")

    return run(members["pickle"], 0, find)[0]


class _Stream:
    """A member, read from its start."""

    def __init__(self, data: memoryview, run: Run) -> None:
        self._data = data
        self._position = 0
        self._run = run

    def value(self) -> object:
        value, self._position = self._run(self._data, self._position, no_persistent)
        return value

    def count(self) -> int:
        value = self.value()
        if type(value) is not int or not 0 <= value <= len(self._data):
            raise PickleError("the number of its tensors or storages is none")
        return value

    def take(self, size: int) -> memoryview:
        start, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise PickleError(f"it is truncated: it claims {size} bytes where {len(self._data) - start} are left")
        return self._data[start : self._position]

    def words(self, number: int) -> list[int]:
        raw = self.take(_WORD * number)
        return [int.from_bytes(raw[at : at + _WORD], "little", signed=True) for at in range(0, len(raw), _WORD)]


def _read_storages(stream: _Stream, objects: dict[int, Storage | TensorValue | None]) -> None:
    for _ in range(stream.count()):
        match stream.value():
            case [int(key), _, cls]:
                dtype = storage_dtype(cls)
            case _:
                raise PickleError("a storage has no key, location and class")
        (count,) = stream.words(1)
        if count < 0:
            raise PickleError(f"a storage claims {count} numbers")
        objects[key] = Storage(StorageData(stream.take(count * dtype.itemsize)), dtype, count)
    views = stream.value()
    for view in cast("list[object]", views) if isinstance(views, list) else ():
        match view:
            case [int(key), int(root), int(offset), int(count)] if isinstance(storage := objects.get(root), Storage):
                if not 0 <= offset <= offset + count <= storage.count:
                    raise PickleError("a view reaches beyond its storage")
                objects[key] = Storage(storage.data, storage.dtype, count, storage.offset + offset)
            case _:
                raise PickleError("a view names no storage")


def _read_tensors(stream: _Stream, objects: dict[int, Storage | TensorValue | None]) -> None:
    for _ in range(stream.count()):
        match stream.value():
            case [int(key), int(storage), _]:
                pass
            case _:
                raise PickleError("a tensor has no key, storage and class")
        axes = int.from_bytes(stream.take(_WORD)[:4], "little")  # the upper half was never set
        if axes > MAX_AXES:
            raise PickleError(f"a tensor claims {axes} axes")
        shape, stride = stream.words(axes), stream.words(axes)
        (offset,) = stream.words(1)
        objects[key] = make_tensor(objects.get(storage), offset, shape, stride)
