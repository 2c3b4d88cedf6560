"""Files that are neither weights nor models, known by their first bytes: web pages, pointers, archives."""

from __future__ import annotations

import shlex
from pathlib import Path

NOT_WEIGHTS = {
    b"<": "a web page or XML: the download went wrong; look at the address in a browser",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned",
    b"7z\xbc\xaf": "a 7z archive: unpack it by `7z x {}`",
    b"Rar!": "a RAR archive: unpack it by `unrar x {}`",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it by `zstd -d {}`",
    b"\x04\x22\x4d\x18": "compressed by lz4: unpack it by `lz4 -d {}`",
    b"\x5d\0\0": "compressed by lzma: unpack it by `xz -F lzma -dc {} > unpacked`",
    b"ZF0x": "compressed by joblib before 0.10: where you trust it, load {} by joblib.load and write it by joblib.dump",
    b"\x1f\x9d": "compressed by compress: unpack it by `uncompress {}`",
}
"""{first bytes: what such a file is, with {} for its path}."""
HEAD_BYTES = 512
"""Of a file's beginning that are looked at."""


def describe_start(head: bytes, path: Path) -> str | None:
    """Return what a file is that begins with these bytes, and what to do; None where they say nothing."""
    starts = (what for start, what in NOT_WEIGHTS.items() if head.lstrip().startswith(start))
    return next((what.format(shlex.quote(str(path))) for what in starts), None)


def describe_file(path: Path) -> str | None:
    """Return `describe_start` of a file's first bytes; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return describe_start(stream.read(HEAD_BYTES), path)
    except OSError:
        return None
