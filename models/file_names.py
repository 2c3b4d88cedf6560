"""Names that become file names: what every file system, shell and terminal takes as it is."""

import re
import unicodedata
from collections.abc import Iterator

from models.text import MAX_MARKS, is_plain, is_visible

_DEVICES = re.compile(
    r"(?:con|prn|aux|nul|com[1-9¹²³]|lpt[1-9¹²³]|conin\$|conout\$)(?:\..*)?", re.IGNORECASE | re.DOTALL
)
"""Names that Windows takes for a device, whatever follows after a dot.

Source: https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file.
"""


def find_name_fault(name: str, max_bytes: int) -> str | None:
    """Return why a name should not become a file's, or None. Words of every script are fine, with plain spaces inside.

    Args:
        name: a file's name, or its beginning.
        max_bytes: bytes of UTF-8 that it may have.
    """
    return next(_find_faults(name, max_bytes), None)


def _find_faults(name: str, max_bytes: int) -> Iterator[str]:
    if not name.strip():
        yield "it is empty"
    if separator := re.search(r"[/\\]", name):
        yield f"it has a {separator[0]}"
    if re.search(r"^[. -]|[. ]$", name):
        yield "it begins with '.', '-' or a space, or ends with '.' or a space"
    for letter in name:
        if not is_visible(letter):
            yield f"it has U+{ord(letter):04X}, which is not visible"
    if not is_plain(name):
        yield f"it has combining marks without a letter, or more than {MAX_MARKS} on one"
    if unicodedata.normalize("NFC", name) != name:
        yield "it is not in Unicode's normal form NFC, and file systems differ in what they make of it"
    if reserved := re.search(r'[<>:"|?*]', name):
        yield f"it has a {reserved[0]}, which Windows does not allow"
    if _DEVICES.fullmatch(name):
        yield "Windows takes it for a device"
    if (size := len(name.encode())) > max_bytes:
        yield f"it has {size:,} bytes; at most {max_bytes} are possible"
