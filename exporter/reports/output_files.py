"""Files that reports are written to: checked before the long run, and never left incomplete."""

import os

from exporter.errors import OutputError
from exporter.isolation.streams import standard_stream
from exporter.storage import Location, local_path, require_folder, write_bytes
from models.paths import atomic_write


def check_output_path(location: Location, option: str) -> None:
    """Check early that a report can be written.

    Args:
        location: the file to write, a path or a URL; of a URL only that its protocol is there and the server responds.
        option: the option that names it, for the message.

    Raises:
        OutputError: there is no such folder, or file or folder do not allow writing.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(location)
    if path is None:
        require_folder(location)
        return
    if not path.parent.is_dir():
        raise OutputError(f"{option} {path}: cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise OutputError(f"{option} {path}: cannot be written: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{option} {path}: cannot be written: no permission")


def write_file(location: Location, content: bytes, option: str) -> None:
    """Write a file completely or not at all; a pipe or device (/dev/stdout) is written to directly.

    Raises:
        OutputError: the operating system, or the server of a URL, does not allow it.
    """
    path = local_path(location)
    if path is None:
        write_bytes(location, content)
        return
    try:
        if (stream := standard_stream(path)) is not None:
            stream.flush()
            stream.buffer.write(content)
            stream.flush()
            return
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            atomic_write(path, content)
    except OSError as error:
        raise OutputError(f"{option} {path}: cannot be written: {error.strerror}") from error
