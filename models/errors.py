"""The errors that building a network can raise, and helpers for messages. `exporter.errors` draws the whole tree."""

import difflib
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from models.text import shorten, split_lines, visible

MAX_MESSAGE = 10_000
"""Characters of `str()` of an error: a name in a file may have millions, each of which would be escaped."""
MAX_LIBRARY_MESSAGE = 400
"""Characters of a library's message that stand in one of this tool's."""
MIN_BEGINNING = 2
"""Characters from which on the beginning of a name stands for it in `did_you_mean`."""


class C3DExportError(Exception):
    """Base of every error that is printed in one line and has an exit code. The message is that line.

    Names from files stand in messages: `str()` escapes what is not visible in one, a line break too, and leaves out the
    middle of more than MAX_MESSAGE characters.
    """

    exit_code = 1

    def __str__(self) -> str:
        return shorten(super().__str__(), MAX_MESSAGE)

    def to_dict(self) -> dict[str, str | int]:
        """Return the error for machines: its class, its message, and its exit code.

        Nothing is escaped in the message, unless it has more than MAX_MESSAGE characters.
        """
        message = super().__str__()
        message = message if len(message) <= MAX_MESSAGE else str(self)
        return {"kind": type(self).__name__, "message": message, "exit_code": self.exit_code}


class BadInputError(C3DExportError):
    """A file or folder that was given is bad: the message says what, where, and what to do (exit code 3)."""

    exit_code = 3


class CheckpointError(BadInputError):
    """A checkpoint cannot be read, is not of this network, or does not cover it."""


class UsageError(C3DExportError):
    """Options that contradict each other or have impossible values (exit code 2)."""

    exit_code = 2


class UnavailableError(C3DExportError):
    """A runtime, device or optional library that was asked for is not there (exit code 4)."""

    exit_code = 4


def first_line(error: BaseException) -> str:
    """Return an error's first line that is not empty, or its class where it has no message."""
    return next(iter(split_lines(str(error))), type(error).__name__)


def one_line(error: BaseException) -> str:
    """Return an error's message in one line of at most `MAX_LIBRARY_MESSAGE` characters, or its class without one."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_LIBRARY_MESSAGE else f"{text[:MAX_LIBRARY_MESSAGE]}…"


def install_command(extra: str) -> str:
    """Return the command that adds an extra's libraries, in the versions that this package supports, in any folder."""
    return f"pip install 'c3d-export[{extra}]'"


@contextmanager
def naming(path: object) -> Generator[None]:
    """Begin the message of an error that is raised in the block with the path of the file that it is about."""
    try:
        yield
    except C3DExportError as error:
        error.args = (f"{path}: {error.args[0]}",)
        raise


def without_path(error: Exception, path: object) -> str:
    """Return an error's message without the `path: ` that it begins with, where the path is escaped."""
    return str(error).removeprefix(visible(f"{path}: "))


def count(number: int, noun: str, verbs: tuple[str, str] | None = None) -> str:
    """Return `1 tensor` or `3 tensors`, with the verb's form for one or for several: `1 tensor is`, `3 tensors are`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    text = f"{number} {noun}{ending}"
    return f"{text} {verbs[number != 1]}" if verbs else text


def join_limited(items: Iterable[str], most: int = 6) -> str:
    """Return `items` joined by commas, the first `most` of them and how many more there are."""
    every = list(items)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean mmaction?`: the known name that is most like an unknown one; empty without one.

    It is spelt alike, in whatever case, or begins with the unknown name.
    """
    names = {each.lower(): each for each in reversed(list(known))}
    similar = difflib.get_close_matches(name.lower(), names, n=1)
    longer = [each for each in reversed(names) if len(name) >= MIN_BEGINNING and each.startswith(name.lower())]
    return f"; did you mean {names[(similar or longer)[0]]}?" if similar or longer else ""
