"""One file's pickles, which share a budget and the notes on what was not built; the storages of torch's zip format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.legacy import MAGIC_NUMBER, read_legacy
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.machine import Machine, Persistent, no_persistent
from models.checkpoints.pickles.opcodes import run
from models.checkpoints.pickles.persistent import parse_identifier
from models.checkpoints.pickles.plain import as_view
from models.checkpoints.pickles.resolve import resolve
from models.checkpoints.pickles.rules import Rules
from models.checkpoints.pickles.storages import Storage, StorageData, storage_dtype
from models.checkpoints.pickles.torch_tar import read_tar
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


@dataclass(frozen=True)
class PickleContent:
    """What a file holds.

    Attributes:
        content: a tree of dicts and lists; its leaves are `FileTensor`s, plain values and `NotBuilt` records. Tuples
            and sets are lists.
        container: the file format, for display.
        not_built: names of classes and functions that were met and not imported, sorted.
        hazards: those of them that would have run code of the file's choice elsewhere, sorted.
    """

    content: object
    container: str
    not_built: tuple[str, ...]
    hazards: tuple[str, ...]


class FilePickles:
    """The pickles of one file."""

    def __init__(self, file_size: int) -> None:
        self.budget = Budget(file_size)
        self._rules = Rules(self.budget, self._load_nested)
        self._nested = False

    def run(self, data: memoryview, position: int, persistent: Persistent) -> tuple[object, int]:
        """Interpret the pickle at `position`; return its value and the position after it.

        Raises:
            PickleError: see `opcodes.run`.
        """
        machine = Machine(data, position, self.budget, self._rules, persistent)
        return run(machine), machine.position

    def finish(self, root: object, container: str) -> PickleContent:
        """Make tensors of what was described.

        Raises:
            PickleError: see `resolve`.
        """
        content = resolve(root, self.budget)
        rules = self._rules
        return PickleContent(content, container, tuple(sorted(rules.not_built)), tuple(sorted(rules.hazards)))

    def _load_nested(self, content: object) -> object:
        """Read a legacy torch file that is a value of a pickle: how plain `pickle.dump` writes a tensor's storage."""
        data = as_view(content, self.budget)
        if data is None or self._nested:
            return None
        self._nested = True
        try:
            value, position = self.run(data, 0, no_persistent)
            return read_legacy(self.run, data, position) if value == MAGIC_NUMBER else None
        finally:
            self._nested = False


def read_pickle(data: memoryview) -> PickleContent:
    """Read a file that begins with a pickle: torch's legacy format, or any other pickle.

    Raises:
        PickleError: damaged, truncated, or beyond a limit.
    """
    pickles = FilePickles(len(data))
    value, position = pickles.run(data, 0, no_persistent)
    if type(value) is int and value == MAGIC_NUMBER:
        return pickles.finish(read_legacy(pickles.run, data, position), "torch legacy")
    values = [value]
    while position < len(data):  # several values, dumped one after another
        value, position = pickles.run(data, position, no_persistent)
        values.append(value)
    return pickles.finish(values if len(values) > 1 else values[0], "pickle")


def read_pickles(parts: Mapping[str, memoryview], file_size: int) -> PickleContent:
    """Read several pickles of one file, which share its budget; the content is {name: value}.

    Raises:
        PickleError: one is damaged, truncated, or together they are beyond a limit; it names the part.
    """
    pickles = FilePickles(file_size)
    values: dict[str, object] = {}
    for name, data in parts.items():
        try:
            values[name], _ = pickles.run(data, 0, no_persistent)
        except PickleError as error:
            raise PickleError(f"{name}: {error}") from error
    return pickles.finish(values, "pickle")


def read_torch_zip(
    pickle_data: memoryview, find_storage: FindStorage, file_size: int, *, big_endian: bool
) -> PickleContent:
    """Read torch's zip format.

    Args:
        pickle_data: the member `data.pkl`.
        find_storage: returns the bytes of the member `data/<key>`.
        file_size: of the archive.
        big_endian: the byte order of the storages.

    Raises:
        PickleError: damaged, truncated, or beyond a limit.
    """
    pickles = FilePickles(file_size)
    root, _ = pickles.run(pickle_data, 0, ZipStorages(find_storage, big_endian=big_endian))
    return pickles.finish(root, "torch zip")


def read_torch_tar(members: Mapping[str, memoryview], file_size: int) -> PickleContent:
    """Read what torch wrote before 0.1.10.

    Args:
        members: the bytes of the archive's members, `torch_tar.MEMBERS` among them.
        file_size: of the archive.

    Raises:
        PickleError: damaged, truncated, or beyond a limit.
    """
    pickles = FilePickles(file_size)
    return pickles.finish(read_tar(pickles.run, members), "torch tar")
