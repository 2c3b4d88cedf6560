"""Zip archives of tensors: what `torch.save` and `numpy.savez` write. Checked member by member before use.

Neither torch nor numpy checks the CRC of what it maps, so a flipped bit would load as a silently different weight.
"""

import lzma
import zipfile
import zlib
from dataclasses import dataclass

from models.checkpoints.readers.base import MappedFile
from models.errors import CheckpointError

MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = 30
_LENGTHS = slice(26, 30)
"""Where a member's own header says how long its name and its extra field are (APPNOTE.TXT, 4.3.7)."""
_END = b"PK\x05\x06"
_END_SEARCHED = (1 << 16) + 22
"""The record at the end has 22 bytes and a comment of up to 64 KiB."""
_ZIP64 = 0xFFFF
"""What it states where another record has the numbers, for very large archives."""
ENCRYPTED = 1
"""The flag of a member that is."""

BAD_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError, OSError)
"""What Python's zipfile raises on damaged archives; OSError where a wrong offset is below 0, and of damaged bzip2."""


@dataclass(frozen=True)
class Member:
    """A member of an archive: its entry, and where its bytes start in the file."""

    info: zipfile.ZipInfo
    offset: int

    @property
    def stored(self) -> bool:
        """Whether it is stored without compression."""
        return self.info.compress_type == zipfile.ZIP_STORED


def is_zip(file: MappedFile) -> bool:
    """Return whether the file begins as a zip archive does."""
    return file.data[: len(MAGIC)] == MAGIC


def member_names(file: MappedFile) -> list[str]:
    """Return the members' names, in order.

    Raises:
        CheckpointError: damaged or truncated.
    """
    try:
        with zipfile.ZipFile(file.stream) as archive:
            return archive.namelist()
    except BAD_ZIP as error:
        raise CheckpointError(f"{file.path}: the archive is damaged or truncated: {error}") from error


def verified_members(file: MappedFile) -> list[Member]:
    """Return the archive's members, the CRC of each stored one checked (zipfile checks the others as it unpacks them).

    Raises:
        CheckpointError: damaged, truncated, encrypted, two members of one name, or more than the file could hold.
    """
    with memoryview(file.data) as data:
        try:
            with zipfile.ZipFile(file.stream) as archive:
                members = [_located(file, info, data) for info in archive.infolist()]
        except BAD_ZIP as error:
            raise CheckpointError(f"{file.path}: the archive is damaged or truncated: {error}") from error
        if _stated_members(data) not in (len(members), _ZIP64):  # zipfile ends where an entry's length runs over
            raise CheckpointError(f"{file.path}: the archive is damaged: its directory lists {len(members)} members")
        if len({member.info.filename for member in members}) < len(members):
            raise CheckpointError(f"{file.path}: two members of the archive have the same name")
        if sum(member.info.file_size for member in members) > file.max_unpacked:
            raise CheckpointError(f"{file.path}: the archive claims to unpack to far more than its own size")
        for member in members:
            if member.stored:
                content = data[member.offset : member.offset + member.info.file_size]
                if len(content) != member.info.file_size or zlib.crc32(content) != member.info.CRC:
                    raise CheckpointError(f"{file.path}: the archive is damaged: bad CRC-32 of {member.info.filename}")
                content.release()
    return members


def _stated_members(data: memoryview) -> int:
    """Return the number of members that the end of the archive states (APPNOTE.TXT, 4.3.16)."""
    tail = bytes(data[-_END_SEARCHED:])
    end = tail.rfind(_END)
    return int.from_bytes(tail[end + 10 : end + 12], "little")


def _located(file: MappedFile, info: zipfile.ZipInfo, data: memoryview) -> Member:
    if info.flag_bits & ENCRYPTED:
        raise CheckpointError(f"{file.path}: member {info.filename} is encrypted")
    header = bytes(data[info.header_offset : info.header_offset + _LOCAL_HEADER])
    if info.header_offset < 0 or header[: len(MAGIC)] != MAGIC or len(header) < _LOCAL_HEADER:
        raise CheckpointError(f"{file.path}: the archive is damaged: {info.filename} is not at its recorded offset")
    lengths = header[_LENGTHS]
    name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return Member(info, info.header_offset + _LOCAL_HEADER + name + extra)
