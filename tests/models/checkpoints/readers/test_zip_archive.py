"""The directory of a zip archive is checked before its members are looked at."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from models.checkpoints.readers.base import open_mapped
from models.checkpoints.readers.zip_archive import MAX_MEMBERS, verified_members
from models.errors import CheckpointError

END, CENTRAL = b"PK\x05\x06", b"PK\x01\x02"


@pytest.fixture
def archive() -> bytearray:
    """Two stored members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as writer:
        writer.writestr("a", b"one")
        writer.writestr("b", b"two")
    return bytearray(stream.getvalue())


def members(content: bytes | bytearray, folder: Path) -> list[str]:
    path = folder / "x.pth"
    path.write_bytes(content)
    with open_mapped(path) as file:
        return [member.info.filename for member in verified_members(file)]


def with_end64(content: bytes | bytearray, count: int, size: int) -> bytes:
    """The archive with the records of a large one in front of its end (APPNOTE.TXT, 4.3.14 and 4.3.15)."""
    at = content.rindex(END)
    _, start = struct.unpack_from("<II", content, at + 12)
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)
    end = bytearray(content[at:])
    end[8:20] = b"\xff" * 12
    return bytes(content[:at]) + record + locator + bytes(end)


def test_the_members_of_an_archive_small_or_large(archive: bytearray, tmp_path: Path) -> None:
    size = archive.rindex(END) - archive.index(CENTRAL)
    for content in (archive, with_end64(archive, 2, size)):
        assert members(content, tmp_path) == ["a", "b"]


def test_a_stored_member_has_one_size(archive: bytearray, tmp_path: Path) -> None:
    """Readers would see different bytes: those of its CRC, or as many as its packed size claims."""
    struct.pack_into("<I", archive, 18, 20)  # of its own header
    struct.pack_into("<I", archive, archive.index(CENTRAL) + 20, 20)
    with pytest.raises(CheckpointError, match="two sizes of a"):
        members(archive, tmp_path)


def test_an_entry_that_runs_over_the_next_one_hides_nothing(archive: bytearray, tmp_path: Path) -> None:
    first, second = archive.index(CENTRAL), archive.rindex(CENTRAL)
    length = archive.rindex(END) - second
    struct.pack_into("<H", archive, first + 32, length)  # its comment
    with pytest.raises(CheckpointError, match="its directory lists 1 members"):
        members(archive, tmp_path)


def test_more_members_than_any_file_has_are_refused_by_their_number(archive: bytearray, tmp_path: Path) -> None:
    for count, size in ((MAX_MEMBERS + 1, 100), (2, 1 << 40)):
        with pytest.raises(CheckpointError, match=f"more than {MAX_MEMBERS} members"):
            members(with_end64(archive, count, size), tmp_path)


@pytest.mark.parametrize("left", [1, 21])
def test_an_end_that_is_cut_off(left: int, archive: bytearray, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no list of members"):
        members(archive[: archive.rindex(END) + left], tmp_path)


def test_a_damaged_entry_of_the_directory(archive: bytearray, tmp_path: Path) -> None:
    archive[archive.index(CENTRAL)] ^= 1
    with pytest.raises(CheckpointError, match="x.pth: the archive is damaged or truncated: "):
        members(archive, tmp_path)
