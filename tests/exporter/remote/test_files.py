"""Remote files of any protocol: read whole, or said why not."""

import sys
import uuid

import pytest

from exporter import storage
from exporter.errors import BadInputError, UnavailableError, UsageError
from exporter.remote import files

fsspec = pytest.importorskip("fsspec", reason="pip install 'c3d-export[remote]'")


@pytest.fixture
def url() -> str:
    """A place in a bucket of this process."""
    return f"memory://{uuid.uuid4().hex}/a.bin"


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 1000])
def test_a_file_is_read_whole_and_in_parts(content: bytes, url: str) -> None:
    storage.write_bytes(url, content)
    with files.open_remote(url, BadInputError) as stream:
        assert stream.read() == content
        assert stream.read(1) == b""
        stream.seek(len(content) // 2)
        assert stream.read() == content[len(content) // 2 :]


def test_a_connection_that_breaks_is_tried_again_from_where_it_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256))
    storage.write_bytes(url, content)
    from fsspec.implementations.memory import MemoryFile

    failures = [ConnectionError("reset"), ConnectionError("reset")]
    read = MemoryFile.read

    def flaky(self: MemoryFile, size: int = -1) -> bytes:
        found = read(self, size)
        if failures:
            raise failures.pop()
        return found

    monkeypatch.setattr(MemoryFile, "read", flaky)
    with files.open_remote(url, BadInputError) as stream:
        stream.seek(100)
        assert stream.read() == content[100:]
    failures += [ConnectionError("reset")] * files.ATTEMPTS
    with files.open_remote(url, BadInputError) as stream, pytest.raises(BadInputError, match="cannot be read: reset"):
        stream.read(10)


def test_without_fsspec_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(
        UnavailableError, match=r"^s3://bucket/a: a URL needs fsspec; pip install 'c3d-export\[remote\]'"
    ):
        files.connect("s3://key:secret@bucket/a")


@pytest.mark.parametrize("url", ["zip://a::https://host/b", "nothing-known://a"])
def test_an_address_of_no_protocol_or_of_several_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError):
        files.connect(url)
