r"""Text from files and users, made safe to show: one place says which characters a terminal would not show as they are.

Names in files may hold newlines, terminal sequences, marks of the direction of writing and characters without a shape.
They forge lines, hide parts of a name, or make two names look alike. Such characters are shown as Python writes them:
`\x1b`, `\u202e`. Letters of every script are shown as they are.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

MAX_MARKS = 4
"""Combining marks on one letter that are shown; Hebrew, Tibetan and Vietnamese need up to four."""
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""What Python calls printable and fonts show as nothing: Default_Ignorable_Code_Point of Unicode's
DerivedCoreProperties.txt without what `str.isprintable` excludes, and the empty Braille pattern."""
_MARKED = re.compile(r"[^\x00-\u02ff]")
"""A text without such a character has no combining marks and nothing ignorable."""
_UNIT = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|.", re.DOTALL)
"""What is not cut in half: an escape, or a character."""
_SHORTENED = re.compile(r"…\((?:more than )?(\d{1,3}(?:,\d{3}){1,5}) characters\)…", re.ASCII)
"""What `shorten` puts in place of the middle of a text."""
_ESCAPE = 10
"""Characters of the longest escape."""


def is_visible(character: str) -> bool:
    """Return whether a terminal shows a character as a shape or a plain space, and as nothing else."""
    return character.isprintable() and not _IGNORABLE.match(character)


def is_plain(text: str) -> bool:
    """Return whether `visible` leaves a text as it is."""
    return text.isprintable() and (not _MARKED.search(text) or visible(text) == text)


def visible(text: str) -> str:
    """Return text with everything escaped that is not visible, and combining marks beyond MAX_MARKS on one letter."""
    if text.isprintable() and not _MARKED.search(text):
        return text
    shown: list[str] = []
    marks = MAX_MARKS  # none at the beginning, where it would change the text before
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        seen = is_visible(character) and marks <= MAX_MARKS
        shown.append(character if seen else character.encode("unicode_escape").decode())
    return "".join(shown)


def shorten(text: str, most: int) -> str:
    """Return `visible(text)` in at most `most` characters: of a longer one its beginning, its length, and its end.

    An escape such as `\\x1b` is kept whole or left out. The cost does not grow with the text.

    Args:
        text: any text; escapes in it that are there already are kept whole too.
        most: at least 80.
    """
    if len(text) <= most and len(shown := visible(text)) <= most:
        return shown
    earlier = [int(found[1].replace(",", "")) for found in _SHORTENED.finditer(text)]
    if max(earlier, default=0) > len(text):  # a part of it was shortened before
        middle = f"…(more than {max(earlier):,} characters)…"
    else:
        middle = f"…({len(text):,} characters)…"
    room = most - len(middle)
    at_end = room // 3
    # a character is shown as one or more, so that a slice of as many is enough; the rest of an escape that a slice
    # cuts is not reached
    first = _fit(_UNIT.findall(visible(text[:room])), room - at_end)
    last = _fit(reversed(_UNIT.findall(visible(text[-at_end - _ESCAPE :]))), at_end)
    return "".join((*first, middle, *reversed(last)))


def _fit(units: Iterable[str], room: int) -> list[str]:
    """Return the first units that together have at most `room` characters."""
    taken: list[str] = []
    for unit in units:
        room -= len(unit)
        if room < 0:
            break
        taken.append(unit)
    return taken


def split_lines(text: str) -> list[str]:
    """Return the lines of a text that are not empty, without white space around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def format_memory(count: float) -> str:
    """Return an amount of memory for people, in round decimal units: 3.1 GB, 400 MB, 12 bytes."""
    return (
        f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count:.0f} bytes"
    )


def format_bytes(count: int) -> str:
    """Return a size in bytes for people, in decimal units: 48.1 GB, 2,001.0 MB, 4.2 kB, 12 bytes."""
    if count < 1e3:
        return f"{count} bytes"
    if count < 1e6:
        return f"{count / 1e3:.1f} kB"
    if count < 1e10:
        return f"{count / 1e6:,.1f} MB"
    return f"{count / 1e9:,.1f} GB"


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
