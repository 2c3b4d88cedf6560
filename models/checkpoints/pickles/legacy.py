"""PyTorch's format before 1.6.

Pickles of a magic number, a version, the writer's machine, the content, and the storages' keys, one after another; then
each storage: the number of its values in eight bytes, and the values. All of that is little-endian, whatever the
pickled `little_endian` says of the machine that wrote it (`torch/csrc/serialization.cpp`, `THPStorage_writeFileRaw`).
Before 0.1.10 the same pickles were members of a tar archive, see `torch_tar`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.machine import Persistent
from models.checkpoints.pickles.persistent import parse_identifier
from models.checkpoints.pickles.storages import Storage, StorageData, storage_dtype

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
MAGIC_TEXT = b"L%dL\n." % MAGIC_NUMBER
"""The first bytes of a file of pickle protocol 0 or 1: pickles of these protocols do not state their protocol."""
PROTOCOL_VERSION = 1001

Run = Callable[[memoryview, int, Persistent], tuple[object, int]]
"""Interprets the pickle at a position; returns its value and the position after it."""

_COUNT_BYTES = 8


def read_legacy(run: Run, data: memoryview, position: int) -> object:
    """Return the content of a file whose magic number ends at `position`.

    Raises:
        PickleError: damaged, truncated, of another version, or a storage is shorter than the pickle says.
    """
    storages = LegacyStorages()
    version, position = run(data, position, storages)
    if version != PROTOCOL_VERSION:
        raise PickleError(f"the version of its format is not {PROTOCOL_VERSION}")
    _, position = run(data, position, storages)  # of the machine that wrote it
    content, position = run(data, position, storages)
    keys, position = run(data, position, storages)
    if not isinstance(keys, list):
        raise PickleError("it has no list of storages after its content")
    for key in cast("list[object]", keys):
        position = storages.locate(key, data, position)
    return content


class LegacyStorages:
    """Resolves persistent ids `("storage", class, key, location, number of values, view)`, and locates the storages."""

    def __init__(self) -> None:
        self._storages: dict[str, StorageData] = {}

    def __call__(self, identifier: object) -> object:
        """Return the storage of a persistent id; of a pickled module's source code, the class.

        Raises:
            PickleError: it is no such id.
        """
        match parse_identifier(identifier):
            case ["storage", cls, str(key), _, int(count)] if count >= 0:
                return self._storage(cls, key, count, None)
            case ["storage", cls, str(key), _, int(count), view] if count >= 0:
                return self._storage(cls, key, count, view)
            case ["module", cls, _, _]:
                return cls
            case _:
                raise PickleError("a persistent id is not one of torch's")

    def _storage(self, cls: object, key: str, count: int, view: object) -> Storage:
        dtype = storage_dtype(cls)
        data = self._storages.setdefault(key, StorageData(None, itemsize=dtype.itemsize))
        data.claimed = max(data.claimed, count * dtype.itemsize)
        match view:
            case None:
                return Storage(data, dtype, count)
            case [_, int(offset), int(size)] if 0 <= offset <= offset + size <= count:
                return Storage(data, dtype, size, offset)
            case _:
                raise PickleError("a view reaches beyond its storage")

    def locate(self, key: object, data: memoryview, position: int) -> int:
        """Read the storage at `position`; return the position after it.

        Raises:
            PickleError: the content refers to no such storage, or it is truncated or shorter than the content says.
        """
        storage = self._storages.get(key) if isinstance(key, str) else None
        start = position + _COUNT_BYTES
        if storage is None or storage.raw is not None:
            raise PickleError("its list of storages does not match its content")
        stop = start + int.from_bytes(data[position:start], "little") * storage.itemsize
        if start > len(data) or stop > len(data):
            raise PickleError(f"it is truncated: a storage at byte {position} claims {stop - start} bytes")
        if stop - start < storage.claimed:
            raise PickleError(f"a storage claims {storage.claimed} bytes but has {stop - start}")
        storage.raw = data[start:stop]
        return stop
