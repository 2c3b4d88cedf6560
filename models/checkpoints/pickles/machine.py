"""The state of the stack machine that a pickle is a program for, and how it reads the bytes of the file.

The opcodes are in `literals` (what they push is in the pickle itself), in `containers`, and in `opcodes` (all others).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import LARGE, MAX_NAME, Budget
from models.checkpoints.pickles.values import LargeText, decode, unescape

Persistent = Callable[[object], object]
"""Returns what a persistent id stands for: a storage, in a torch file."""


def no_persistent(identifier: object) -> object:
    """Refuse a persistent id.

    Raises:
        PickleError: always.
    """
    raise PickleError("it refers to values outside the file by a persistent id")


_LINE_CHUNK = 256


class Rules(Protocol):
    """What names and calls of a file become; nothing is imported or called."""

    def refer(self, module: str, name: str) -> object:
        """Return what stands for a class or function that the file names."""
        ...

    def call(self, function: object, arguments: list[object]) -> object:
        """Return what stands for the result of a call."""
        ...

    def build(self, target: object, state: object) -> None:
        """Give an object its state."""
        ...


class Machine:
    """A pickle being interpreted.

    Attributes:
        data: the bytes that hold the pickle.
        position: of the next byte.
        stack: since the last mark.
        marks: the stacks before each mark.
        memo: values by their number.
        budget: what the file may still cost.
        rules: what names and calls of the file become.
        persistent: resolves persistent ids.
        done: whether the pickle has ended; its value is then the top of the stack.
    """

    def __init__(self, data: memoryview, position: int, budget: Budget, rules: Rules, persistent: Persistent) -> None:
        self.data = data
        self.position = position
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.budget = budget
        self.rules = rules
        self.persistent = persistent
        self.done = False

    def pop_mark(self) -> list[object]:
        """Return what was pushed since the last mark, and go back to the stack before it."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes as a view.

        Raises:
            PickleError: there are fewer.
        """
        start, self.position = self.position, self.position + size
        if self.position > len(self.data):
            raise PickleError(f"it is truncated: it claims {size} bytes where {len(self.data) - start} are left")
        return self.data[start : self.position]

    def integer(self, size: int) -> int:
        """Return the next `size` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> memoryview:
        """Return the bytes up to the next newline.

        Raises:
            PickleError: there is no newline.
        """
        start, size = self.position, _LINE_CHUNK
        while self.position < len(self.data):
            chunk = bytes(self.data[self.position : self.position + size])
            found = chunk.find(b"\n")
            if found >= 0:
                self.position += found + 1
                return self.data[start : self.position - 1]
            self.position += len(chunk)
            size = min(2 * size, 1 << 20)
        raise PickleError("it is truncated in a line of text")

    def text(self, raw: memoryview, encoding: str) -> str | LargeText:
        """Return a text of the file; a long one stays encoded."""
        if len(raw) > LARGE:
            return LargeText(raw, encoding)
        text = unescape(raw).decode("latin-1") if encoding == "string-escape" else decode(raw, encoding)
        if not text.isascii():
            self.budget.charge_bytes(4 * len(text))
        return text

    def refer(self, module: object, name: object) -> None:
        """Push the reference to a class or function.

        Raises:
            PickleError: the names are not texts, or too long.
        """
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > MAX_NAME:
            raise PickleError("it refers to a class whose name is no text, or too long")
        self.stack.append(self.rules.refer(module, name))
