"""What compressed files may unpack to, and what Python's zipfile raises on damaged ones. It needs no torch."""

import lzma
import zipfile
import zlib

INFLATION = 2
HEADROOM = 512 << 20
MAX_RATIO = 100
ALWAYS_UNPACKED = 16 << 20
"""A file may unpack to INFLATION times its size and HEADROOM bytes, and to no more than MAX_RATIO times its size where
that is over ALWAYS_UNPACKED bytes: weights, pruned ones included, compress to a tenth at best, bombs to a thousandth. A
file that unpacks to more is refused."""

ENCRYPTED = 1
"""The flag of a member of a zip archive that is."""
BAD_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError, OSError)
"""What Python's zipfile raises on damaged archives; OSError where a wrong offset is below 0, and of damaged bzip2."""


def max_unpacked(size: int) -> int:
    """Return the bytes that a file of `size` bytes may unpack to before it is refused as a decompression bomb."""
    return min(INFLATION * size + HEADROOM, max(MAX_RATIO * size, ALWAYS_UNPACKED))
