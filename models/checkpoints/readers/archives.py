"""The one checkpoint inside a compressed file, a tar, a zip, or a tar that is compressed.

It is unpacked into an anonymous temporary file and mapped as any other file is, within `MappedFile.max_unpacked`. No
path of the archive is used for anything but to choose the member: nothing is written under its name, and links,
devices and folders are not members. An archive in an archive is refused.
"""

from __future__ import annotations

import mmap
import re
import shlex
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from models.checkpoints.pickles.torch_tar import MEMBERS as TORCH_TAR
from models.checkpoints.pt2_schema import WEIGHTS_CONFIG
from models.checkpoints.readers.base import MappedFile
from models.checkpoints.readers.compressions import CHUNK, PROBED_BYTES, STARTS, Chunks, find_compression, unpack
from models.checkpoints.readers.zip_archive import is_zip, member_names
from models.checkpoints.shards import INDEX_SUFFIX, WEIGHT_MAP
from models.errors import CheckpointError, join_limited
from models.paths import DESCRIPTORS
from models.unpacking import BAD_ZIP

MAX_MEMBERS = 10_000
NUMBERED = re.compile(r"\.(ckpt|model)-\d+")
COMPRESSION_SUFFIXES = {
    ".gz": "",
    ".bz2": "",
    ".xz": "",
    ".tgz": ".tar",
    ".tbz2": ".tar",
    ".tbz": ".tar",
    ".txz": ".tar",
}
"""{suffix of a compressed file: the suffix of what is in it}."""

TORCH_ZIP = {"data.pkl", "constants.pkl", PurePosixPath(WEIGHTS_CONFIG).name}
"""Members of the zip archives that torch writes."""
PROGRAM_STATE = re.compile(r"(^|/)(serialized_state_dict\.(pt|json)|data/weights/[^/]+\.pt)$")
"""The member of a `.pt2` file with the state_dict, as `torch.export.save` wrote it in torch 2.1 to 2.8."""
_TAR_MAGIC = slice(257, 262)
"""Where `ustar` stands in a tar header (POSIX.1-1988)."""
_BAD_TAR = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path there, its size, and its bytes, which are only produced when asked for."""

    name: str
    size: int
    chunks: Callable[[], Chunks]

    @property
    def path(self) -> PurePosixPath:
        """Its path, whatever separators the archive uses."""
        return PurePosixPath(self.name.replace("\\", "/"))


@contextmanager
def open_inside(file: MappedFile, suffixes: Collection[str]) -> Generator[MappedFile]:
    """Yield the one checkpoint inside a compressed file or an archive; `file` itself if it is neither.

    Args:
        file: the user's file.
        suffixes: the suffixes of checkpoints.

    Raises:
        CheckpointError: damaged, a bomb, without a checkpoint, with several, or an archive in an archive.
    """
    with ExitStack() as stack:
        inner = file
        if kind := find_compression(inner.data[:PROBED_BYTES]):
            inner = stack.enter_context(_decompressed(inner, kind))
        if members := _members(inner):
            inner = stack.enter_context(_only_checkpoint(inner, members, suffixes))
        if inner is not file and (find_compression(inner.data[:PROBED_BYTES]) or _members(inner)):
            raise CheckpointError(
                f"{inner.name} inside is itself an archive; unpack {file.path.name} first, then give that"
            )
        yield inner


# ---- compressed files


@contextmanager
def _decompressed(file: MappedFile, kind: str) -> Generator[MappedFile]:
    file.stream.seek(0)
    suffix = file.path.suffix.lower()
    name = file.path.name
    if suffix in COMPRESSION_SUFFIXES:
        name = name[: -len(suffix)] + COMPRESSION_SUFFIXES[suffix]
    with _temporary(file, name, kind, unpack(file.stream, kind), file.max_unpacked) as inner:
        yield inner


@contextmanager
def _temporary(file: MappedFile, name: str, kind: str, chunks: Chunks, limit: int) -> Generator[MappedFile]:
    """Yield an anonymous temporary file with these bytes, mapped."""
    # libraries that open by name need one where the system has no names for open files
    create = tempfile.TemporaryFile if DESCRIPTORS.exists() else tempfile.NamedTemporaryFile
    with create(prefix="c3d-export-") as created:
        stream = cast("BinaryIO", created)
        size = 0
        try:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise CheckpointError(f"unpacks to more than {limit >> 20} MiB: a decompression bomb")
                stream.write(chunk)
            stream.flush()
        except CheckpointError:
            raise
        except BAD_ZIP as error:
            raise CheckpointError(f"the {kind} data is damaged or truncated: {error}") from error
        if size == 0:
            raise CheckpointError(f"{name} inside is empty (0 bytes)")
        data = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_COPY)
        yield MappedFile(file.path, stream, data, (kind, *file.archive), name, limit, lambda _: None)


# ---- archives


def _members(file: MappedFile) -> tuple[Member, ...]:
    """Return the files in an archive; none if it is no archive, or one that a format itself is made of."""
    if is_zip(file):
        return _zip_members(file)
    return _tar_members(file) if is_tar(file) else ()


def _zip_members(file: MappedFile) -> tuple[Member, ...]:
    names = member_names(file)
    if all(name.endswith(".npy") for name in names) or any(PurePosixPath(name).name in TORCH_ZIP for name in names):
        return ()
    with zipfile.ZipFile(file.stream) as archive:
        entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]

    def read(entry: zipfile.ZipInfo) -> Chunks:
        if entry.flag_bits & 1:
            raise CheckpointError(f"member {entry.filename} is encrypted; unpack it first")
        if entry.compress_type == zipfile.ZIP_LZMA:  # its header says how much memory unpacking takes
            raise CheckpointError(f"member {entry.filename} is compressed by LZMA; unpack it first")
        try:
            with zipfile.ZipFile(file.stream) as archive, archive.open(entry) as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except BAD_ZIP as error:
            raise CheckpointError(f"the archive is damaged or truncated: {error}") from error

    return tuple(Member(entry.filename, entry.file_size, lambda entry=entry: read(entry)) for entry in entries)


def is_tar(file: MappedFile) -> bool:
    """Return whether the file begins with a tar header: by its magic, or by its checksum in old formats without one."""
    if file.data[_TAR_MAGIC] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(file.data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def tar_files(file: MappedFile) -> list[tarfile.TarInfo]:
    """Return the entries of a tar archive that are files, not links, folders or sparse ones.

    Raises:
        CheckpointError: damaged, truncated, or of too many entries.
    """
    file.stream.seek(0)
    entries: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(fileobj=file.stream, mode="r:") as archive:
            for entry in archive:
                entries.append(entry)
                if len(entries) > MAX_MEMBERS:
                    raise CheckpointError(f"a tar archive of more than {MAX_MEMBERS} members")
    except _BAD_TAR as error:
        raise CheckpointError(f"the tar archive is damaged or truncated: {error}") from error
    files = [entry for entry in entries if entry.isreg() and not entry.issparse()]
    for entry in files:
        if entry.offset_data + entry.size > file.size:
            raise CheckpointError(f"the tar archive is truncated: {entry.name} is not complete")
    return files


def _tar_members(file: MappedFile) -> tuple[Member, ...]:
    files = tar_files(file)
    if {entry.name for entry in files} >= set(TORCH_TAR):
        return ()

    def read(entry: tarfile.TarInfo) -> Chunks:
        for start in range(0, entry.size, CHUNK):
            file.stream.seek(entry.offset_data + start)  # by the stream: what is mapped counts as memory
            yield file.stream.read(min(CHUNK, entry.size - start))

    return tuple(Member(entry.name, entry.size, lambda entry=entry: read(entry)) for entry in files)


@contextmanager
def _only_checkpoint(file: MappedFile, members: tuple[Member, ...], suffixes: Collection[str]) -> Generator[MappedFile]:
    """Yield the one member that is a checkpoint."""
    kind = "zip" if is_zip(file) else "tar"
    found = [member for member in members if PROGRAM_STATE.search(member.name)]
    found = found or [member for member in members if _is_index(member)]
    found = found or [member for member in members if _is_checkpoint(member, suffixes)]
    if not found:
        names = join_limited(member.name for member in members)
        raise CheckpointError(f"a {kind} archive without a checkpoint; it holds {names}")
    if len(found) > 1:
        names = join_limited(member.name for member in found)
        raise CheckpointError(
            f"a {kind} archive of {len(found)} checkpoints: {names}; extract the one you want, such as by "
            f"{_extraction(file, kind, found[0].name)}"
        )
    (chosen,) = found
    unpacked = chosen.size

    def beside(name: str) -> MappedFile | None:
        """Unpack another member of the same folder; all together stay within the bound."""
        nonlocal unpacked
        for member in members:
            if member.path == chosen.path.with_name(name):
                limit = file.max_unpacked - unpacked
                unpacked += member.size
                return opened.enter_context(_temporary(file, member.path.name, kind, member.chunks(), limit))
        return None

    with (
        ExitStack() as opened,
        _temporary(file, str(chosen.path), kind, chosen.chunks(), file.max_unpacked) as inner,
    ):
        yield replace(inner, find_beside=beside)


def _is_index(member: Member) -> bool:
    """Return whether it is an index of shards, by its name and its beginning."""
    return member.name.endswith(INDEX_SUFFIX) and not _is_hidden(member) and WEIGHT_MAP in next(member.chunks(), b"")


def _is_hidden(member: Member) -> bool:
    """Return whether it is empty, or one that macOS puts beside a file."""
    return member.path.name.startswith(".") or "__MACOSX" in member.path.parts or member.size == 0


def _is_checkpoint(member: Member, suffixes: Collection[str]) -> bool:
    path = member.path
    if _is_hidden(member):
        return False
    if path.suffix.lower() in suffixes and path.suffix.lower() != ".binaryproto":  # Caffe's mean beside its weights
        return True
    head = next(member.chunks(), b"")[:PROBED_BYTES]
    if not path.suffix or NUMBERED.fullmatch(path.suffix.lower()):  # Caffe's files, and TensorFlow's of version 1
        return b"\0" in head
    return head.startswith(STARTS)


def _extraction(file: MappedFile, kind: str, name: str) -> str:
    """Return the command that extracts one member, for a shell."""
    path = str(file.path)
    if kind == "tar":
        return shlex.join(["tar", "-xf", path, "--", name])
    return shlex.join(["python", "-c", f"import zipfile; zipfile.ZipFile({path!r}).extract({name!r})"])
