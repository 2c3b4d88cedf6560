"""The input and output of every reader: one open, mapped file; the tensors in it.

A file is opened once. What is hashed is what is parsed, and a tensor that the file stores as the network needs it is
never copied: it is a view of the mapping, whose pages the system reads on first access.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from models.checkpoints.contents import TensorTree, flatten
from models.checkpoints.dtypes import DType
from models.checkpoints.file_tensor import FileBytes, FileTensor, contiguous, is_possible
from models.checkpoints.metadata import NONE_STATED, Conventions
from models.errors import CheckpointError, naming
from models.paths import descriptor_path, is_plain_name
from models.protobuf_wire import WireReader
from models.unpacking import max_unpacked

HASH_BUFFER = 1 << 20


@dataclass(frozen=True)
class MappedFile:
    """A file, open and mapped privately: tensors may be views of it, writing to them never reaches the disk.

    Attributes:
        path: as the user gave it.
        stream: the open file, for libraries that want one.
        data: all of its bytes.
        archive: the kinds of archive that it was in, innermost first; empty if it is the user's own file.
        member: its name in the archive, or without the suffix of its compression.
        limit: the bytes that what it was unpacked from may unpack to; None for the user's own file.
        find_beside: finds a file of the same folder of the archive.
        others: {name: file} of the same folder that were opened, see `beside`.
        opened: closes them, with this file.
    """

    path: Path
    stream: BinaryIO
    data: mmap.mmap
    archive: tuple[str, ...] = ()
    member: str = ""
    limit: int | None = None
    find_beside: Callable[[str], MappedFile | None] | None = None
    others: dict[str, MappedFile] = field(default_factory=dict[str, "MappedFile"])
    opened: ExitStack = field(default_factory=ExitStack)

    @property
    def name(self) -> str:
        """Its file name: the member's in an archive."""
        return PurePosixPath(self.member).name or self.path.name

    @property
    def suffix(self) -> str:
        """The suffix of its name, in lower case, with the dot."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def openable(self) -> Path:
        """A path under which a library that opens files by name opens this very file."""
        return descriptor_path(self.stream) or Path(self.stream.name)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    @property
    def max_unpacked(self) -> int:
        """The bytes that the file may unpack to before it is refused as a decompression bomb."""
        if self.limit is not None:
            return self.limit
        return max_unpacked(self.size)

    @cached_property
    def wire(self) -> WireReader:
        """The messages of a file in protocol buffers' format: what it may hold is counted over all of them."""
        return WireReader(self.data)

    def release(self) -> None:
        """Give the memory of its pages back; they are read again where they are needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.data.madvise(mmap.MADV_DONTNEED)

    def beside(self, name: str) -> MappedFile | None:
        """Return the file called `name` in this file's own folder, opened once; None if it has no such plain file.

        A link is followed only if this file is a link into the same folder: the Hub's cache is made so.

        Args:
            name: a plain name, without folders.
        """
        if name not in self.others and (other := self._open_beside(name)) is not None:
            self.others[name] = other
        return self.others.get(name)

    def _open_beside(self, name: str) -> MappedFile | None:
        if not is_plain_name(name):
            return None
        if self.find_beside is not None:
            return self.find_beside(name)
        path = self.path.with_name(name)
        linked = self.path.is_symlink() and path.resolve().parent == self.path.resolve().parent
        if (path.is_symlink() and not linked) or not path.is_file():
            return None
        return self.opened.enter_context(_map(path))

    def tensor(self, name: str, dtype: DType, shape: tuple[int, ...], offset: int, length: int) -> FileTensor:
        """Return the tensor at `offset`, `length` bytes long, of little-endian numbers.

        Raises:
            CheckpointError: the bytes are not there, or not those of the shape; nothing is allocated before.
        """
        check_shape(name, dtype, shape, length)
        if not 0 <= offset <= offset + length <= self.size:
            raise CheckpointError(f"{name} claims bytes {offset} to {offset + length} of {self.size} in the file")
        return contiguous(dtype, shape, FileBytes(memoryview(self.data)[offset : offset + length]))


def check_shape(name: str, dtype: DType, shape: tuple[int, ...], length: int) -> None:
    """Refuse a shape that no tensor has, or whose numbers do not take `length` bytes.

    Raises:
        CheckpointError: it is such a one.
    """
    if not is_possible(dtype, tuple(map(abs, shape))):
        raise CheckpointError(f"{name} claims {len(shape)} axes or sizes that no tensor has")
    if any(size < 0 for size in shape) or prod(shape) * dtype.itemsize != length:
        raise CheckpointError(f"{name} claims the shape {shape} but has {length} bytes")


@contextmanager
def open_mapped(path: Path) -> Generator[MappedFile]:
    """Open and map a file that is not empty. The mapping lives on in the tensors that refer to it.

    The messages of readers do not name the file: errors that are raised in the block are given its path here.
    """
    with _map(path) as file, naming(path):
        yield file


@contextmanager
def _map(path: Path) -> Generator[MappedFile]:
    with path.open("rb") as stream, ExitStack() as opened:
        size = os.fstat(stream.fileno()).st_size
        if size == 0:
            raise CheckpointError(f"the checkpoint is empty (0 bytes): {path}")
        data = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_COPY)
        yield MappedFile(path, stream, data, opened=opened)


@dataclass(frozen=True)
class ReadResult:
    """What a file holds, as the file names and lays it out: what a reader returns.

    Attributes:
        content: a tree of dicts, lists and tuples, whose leaves are `FileTensor`s, plain values and strings, and
            `NotBuilt` records; {name: tensor} for formats without nesting. It may be cyclic.
        container: the file format, for display and the manifest.
        conventions: what the file itself states of its weights.
        by_position: {canonical name: tensor} as the file's graph says which layer each is of; empty where it does not.
        is_by_position: whether `content` was taken from there, because no names are known.
        others: further files that hold part of the content, in order.
        not_built: the classes and functions that the file names and that were not imported, sorted.
        hazards: those of them that would have run code of the file's choice, such as `os.system`.
        sha256: SHA-256 of the file as it was given, so of the archive where the checkpoint is in one (of all files one
            after another, where there are several); `read_file` sets it.
        size: bytes of the file (or files) as given; `read_file` sets it.
    """

    content: object
    container: str
    conventions: Conventions = NONE_STATED
    by_position: Mapping[str, FileTensor] = field(default_factory=dict[str, FileTensor])
    is_by_position: bool = False
    others: tuple[MappedFile, ...] = ()
    not_built: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0

    @cached_property
    def contents(self) -> TensorTree:
        """Every tensor of the file, by its path."""
        return flatten(self.content)

    @property
    def tensors(self) -> dict[str, FileTensor]:
        """{path: tensor} of the whole file, as the file lays them out."""
        return self.contents.tensors

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{path: shape} of the whole file."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


class Hashing:
    """SHA-256 of mapped files, computed beside the parsing: hashlib lets other threads run meanwhile.

    The file is read through a small buffer, not through its mapping, whose pages would all count as memory then.
    """

    def __init__(self, file: MappedFile) -> None:
        self._digest = hashlib.sha256()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._hash, args=(file,))
        self._thread.start()

    def _hash(self, file: MappedFile) -> None:
        if not hasattr(os, "preadv"):
            self._digest.update(file.data)
            return
        buffer = memoryview(bytearray(HASH_BUFFER))
        position = 0
        try:
            while position < file.size:
                size = os.preadv(file.stream.fileno(), [buffer], position)
                if size == 0:
                    raise OSError(errno.EIO, "the file became shorter while it was read")
                self._digest.update(buffer[: min(size, file.size - position)])
                position += size
        except OSError as error:
            self._error = error

    def finish(self, others: tuple[MappedFile, ...] = ()) -> str:
        """Wait, add the other files, and return the digest in hexadecimal.

        Raises:
            OSError: the file could not be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        for other in others:
            self._digest.update(other.data)
        return self._digest.hexdigest()
