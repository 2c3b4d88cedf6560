"""The storages of torch's zip format: a member of the archive each."""

from __future__ import annotations

from collections.abc import Callable

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.persistent import parse_identifier
from models.checkpoints.pickles.storages import Storage, StorageData, storage_dtype
from models.checkpoints.pickles.values import printable

FindStorage = Callable[[str], memoryview | None]
"""Returns the bytes of the storage of that key."""


class ZipStorages:
    """Resolves persistent ids `("storage", class, key, location, number of values)`."""

    def __init__(self, find: FindStorage, *, big_endian: bool) -> None:
        self._find = find
        self._big_endian = big_endian
        self._found: dict[str, StorageData] = {}

    def __call__(self, identifier: object) -> object:
        """Return the storage of a persistent id.

        Raises:
            PickleError: it is no such id, or the archive does not have the storage or not so much of it.
        """
        match parse_identifier(identifier):
            case ["storage", cls, str(key), _, int(count)] if count >= 0:
                dtype = storage_dtype(cls)
            case _:
                raise PickleError("a persistent id is not one of torch's")
        if key not in self._found:
            raw = self._find(key)
            if raw is None:
                raise PickleError(f"the archive has no storage {printable(key)!r}")
            self._found[key] = StorageData(raw, self._big_endian)
        data = self._found[key]
        if data.raw is None or count * dtype.itemsize > len(data.raw):
            size = 0 if data.raw is None else len(data.raw)
            raise PickleError(f"a storage claims {count} numbers of {dtype} but has {size} bytes")
        return Storage(data, dtype, count)
