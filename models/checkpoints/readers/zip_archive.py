"""Zip archives of tensors: what `torch.save` and `numpy.savez` write. Checked member by member before use.

Neither torch nor numpy checks the CRC of what it maps, so a flipped bit would load as a silently different weight.
"""

import struct
import zipfile
import zlib
from dataclasses import dataclass

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.readers.base import MappedFile
from models.errors import CheckpointError
from models.unpacking import BAD_ZIP, ENCRYPTED

MAGIC = b"PK\x03\x04"
MAX_MEMBERS = 2 * MAX_TENSORS
MAX_DIRECTORY = 512 * MAX_MEMBERS
"""Bytes of the list of members: zipfile makes an object of each entry, which takes 46 bytes and its name."""
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""A member's own header: magic, version, flags, method, time, date, CRC, sizes packed and unpacked, and the lengths of
its name and its extra field (APPNOTE.TXT, 4.3.7)."""
_SIZES_FOLLOW = 1 << 3
"""The flag of a member whose CRC and sizes are after it and in the directory only."""
_UTF8 = 1 << 11
_UNKNOWN_SIZE = 0xFFFFFFFF
"""Of a size that is in an extra field, for members of 4 GiB and more."""
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_SEARCHED = (1 << 16) + 22
"""The record at the end has 22 bytes and a comment of up to 64 KiB."""


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
        CheckpointError: damaged, truncated, or with more members than a checkpoint has.
    """
    with memoryview(file.data) as data:
        _check_directory(file, data)
    try:
        with zipfile.ZipFile(file.stream) as archive:
            return archive.namelist()
    except BAD_ZIP as error:
        raise CheckpointError(f"the archive is damaged or truncated: {error}") from error


def verified_members(file: MappedFile) -> list[Member]:
    """Return the archive's members, the CRC of each stored one checked (zipfile checks the others as it unpacks them).

    Raises:
        CheckpointError: damaged, truncated, encrypted, two members of one name, or more than the file could hold.
    """
    with memoryview(file.data) as data:
        stated = _check_directory(file, data)
        try:
            with zipfile.ZipFile(file.stream) as archive:
                members = [_located(file, info, data) for info in archive.infolist()]
        except BAD_ZIP as error:
            raise CheckpointError(f"the archive is damaged or truncated: {error}") from error
        if stated != len(members):  # zipfile ends where an entry's length runs over
            raise CheckpointError(f"the archive is damaged: its directory lists {len(members)} members")
        if min((member.info.header_offset for member in members), default=0):
            raise CheckpointError("the archive is damaged: other data precedes its first member")
        if len({member.info.filename for member in members}) < len(members):
            raise CheckpointError("two members of the archive have the same name")
        if sum(member.info.file_size for member in members) > file.max_unpacked:
            raise CheckpointError("the archive claims to unpack to far more than its own size")
        for member in members:
            if member.stored:
                if member.info.compress_size != member.info.file_size:
                    raise CheckpointError(
                        f"the archive is damaged: two sizes of {member.info.filename}, not compressed"
                    )
                content = data[member.offset : member.offset + member.info.file_size]
                if len(content) != member.info.file_size or zlib.crc32(content) != member.info.CRC:
                    raise CheckpointError(f"the archive is damaged: bad CRC-32 of {member.info.filename}")
                content.release()
    return members


def _check_directory(file: MappedFile, data: memoryview) -> int:
    """Return the number of members that the end of the archive states (APPNOTE.TXT, 4.3.14 to 4.3.16).

    Raises:
        CheckpointError: there is no such end, or more members than a checkpoint has, before any is looked at.
    """
    start = max(0, len(data) - _END_SEARCHED)
    tail = bytes(data[start:])
    end = tail.rfind(_END)
    if end < 0 or end + 22 > len(tail):
        raise CheckpointError("the archive is damaged or truncated: no list of members; copy or download it again")
    count, size = struct.unpack_from("<HI", tail, end + 10)
    locator = tail[end - 20 : end] if end >= 20 else b""
    if locator.startswith(_LOCATOR64):
        (at,) = struct.unpack_from("<Q", locator, 8)
        record = bytes(data[at : at + 56])
        if len(record) == 56 and record.startswith(_END64):
            count, size = struct.unpack_from("<QQ", record, 32)
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        raise CheckpointError(f"an archive of more than {MAX_MEMBERS} members, or of very long names")
    return count


def _located(file: MappedFile, info: zipfile.ZipInfo, data: memoryview) -> Member:
    """Return where a member's bytes are, once its own header says the same of it as the directory.

    Raises:
        CheckpointError: encrypted, not there, or another name, method, size or CRC: readers would see different files.
    """
    if info.flag_bits & ENCRYPTED:
        raise CheckpointError(f"member {info.filename} is encrypted")
    header = bytes(data[info.header_offset : info.header_offset + _LOCAL_HEADER.size])
    if info.header_offset < 0 or header[: len(MAGIC)] != MAGIC or len(header) < _LOCAL_HEADER.size:
        raise CheckpointError(f"the archive is damaged: {info.filename} is not at its recorded offset")
    _, _, flags, method, _, _, crc, packed, unpacked, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = info.header_offset + _LOCAL_HEADER.size
    name = bytes(data[start : start + name_length])
    stated = (crc, packed, unpacked) if not flags & _SIZES_FOLLOW else (info.CRC, _UNKNOWN_SIZE, _UNKNOWN_SIZE)
    same = (
        name.decode("utf-8" if flags & _UTF8 else "cp437", "replace") == info.orig_filename
        and method == info.compress_type
        and not flags & ENCRYPTED
        and stated[0] == info.CRC
        and stated[1] in (info.compress_size, _UNKNOWN_SIZE)
        and stated[2] in (info.file_size, _UNKNOWN_SIZE)
    )
    if not same:
        raise CheckpointError(f"the archive is damaged: the header of {info.filename} and the list of members differ")
    return Member(info, start + name_length + extra_length)
