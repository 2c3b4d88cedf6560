"""What the interpreter builds: plain values, and descriptions of everything else.

A description refers to bytes of the file; `resolve` makes a `FileTensor` of it in the end.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field

from models.checkpoints.contents import NotBuilt
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import Budget
from models.text import shorten

_CHUNK = 1 << 20
_MAX_SHOWN = 100


class TupleItems(list[object]):
    """A pickled tuple. It is a list: hashing and destroying deeply nested tuples would recurse."""


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle refers to by name; it is never imported."""

    module: str
    name: str

    @property
    def display_name(self) -> str:
        """Its name for display, without control characters and of a bounded length."""
        return printable(f"{self.module}.{self.name}")


@dataclass(eq=False, repr=False)
class UnbuiltObject(NotBuilt):
    """An object that was not built, with the dict and list entries that its pickle adds to it.

    Attributes:
        entries: of a subclass of dict; once there are any they are one of the `parts`.
        elements: of a subclass of list; likewise.
    """

    entries: dict[object, object] | None = None
    elements: list[object] | None = None

    def dict_entries(self) -> dict[object, object]:
        """Return its dict entries, to add to."""
        if self.entries is None:
            self.entries = {}
            self.parts.append(self.entries)
        return self.entries

    def list_elements(self) -> list[object]:
        """Return its list elements, to add to."""
        if self.elements is None:
            self.elements = []
            self.parts.append(self.elements)
        return self.elements


@dataclass(eq=False)
class LargeText:
    """A long text, still encoded as the file has it: mostly an array's values, which protocols 0 to 2 store as text.

    Attributes:
        raw: the file's bytes.
        encoding: `utf-8`, `raw-unicode-escape`, `latin-1` (Python 2's strings), or `string-escape` (with backslashes).
    """

    raw: memoryview
    encoding: str
    _latin1: memoryview | None = field(default=None, repr=False)

    def decode(self, budget: Budget) -> str:
        """Return the text.

        Raises:
            PickleError: it is not encoded so, or the budget does not allow it.
        """
        budget.charge_bytes(4 * len(self.raw))
        if self.encoding == "string-escape":
            return unescape(self.raw).decode("latin-1")
        return decode(self.raw, self.encoding)

    def to_latin1(self, budget: Budget) -> memoryview:
        """Return the text in Latin-1, one byte for each character, without holding the text itself.

        Raises:
            PickleError: it is not encoded so, has other characters, or the budget does not allow it.
        """
        if self.encoding == "latin-1":
            return self.raw
        if self._latin1 is None:
            budget.charge_bytes(len(self.raw))
            try:
                self._latin1 = self._transcode()
            except UnicodeError as error:
                raise PickleError("a text that encodes bytes is damaged") from error
        return self._latin1

    def _transcode(self) -> memoryview:
        if self.encoding == "string-escape":
            return memoryview(bytearray(unescape(self.raw)))
        if self.encoding != "utf-8":
            return memoryview(bytearray(bytes(self.raw).decode(self.encoding).encode("latin-1")))
        decoder = codecs.getincrementaldecoder("utf-8")()
        result, stop = bytearray(len(self.raw)), 0
        for start in range(0, len(self.raw), _CHUNK):
            last = start + _CHUNK >= len(self.raw)
            piece = decoder.decode(self.raw[start : start + _CHUNK], final=last).encode("latin-1")
            result[stop : stop + len(piece)] = piece
            stop += len(piece)
        return memoryview(result)[:stop]


def decode(raw: memoryview, encoding: str) -> str:
    """Return a text without surrogates, which no terminal and no file takes.

    Raises:
        PickleError: it is not encoded so.
    """
    try:
        text = str(raw, encoding, "surrogatepass" if encoding == "utf-8" else "strict")
    except UnicodeError as error:
        raise PickleError(f"a text is not {encoding.upper()}") from error
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def unescape(raw: memoryview) -> bytes:
    """Return the bytes of a Python 2 string literal's inside, `a\\n\\x00`.

    Raises:
        PickleError: it is no such literal.
    """
    try:
        return codecs.escape_decode(bytes(raw))[0]
    except ValueError as error:
        raise PickleError("a quoted text is damaged") from error


def printable(name: str) -> str:
    """Return a name from a file for display; see `models.text.shorten`."""
    return shorten(name, _MAX_SHOWN)
