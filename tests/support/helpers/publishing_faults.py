"""A publication that is killed, or refused by the operating system, at each of its calls."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from exporter.artifacts import folders
from exporter.errors import OutputError
from helpers.power_loss import FUNCTIONS
from helpers.publications import FILE_SYSTEMS, REFUSED, Publication, list_clean, list_files

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
REMOVING = ("rmdir", "unlink", "remove")


@dataclass
class Faults:
    """What became of a publication that was interrupted at one call after another.

    Attributes:
        calls: how many calls there are.
        found: what a reader found: the old content or the new one.
        damaged: descriptions of what went wrong.
    """

    calls: int = 0
    found: Counter[str] = field(default_factory=Counter[str])
    damaged: list[str] = field(default_factory=list[str])


@contextmanager
def at_call(number: int, act: Callable[[str], None], *, repeat: bool = False) -> Generator[list[str]]:
    """Act before the call of that number to a function of `os` that changes files; with `repeat` before the later ones.

    Yields the names of the functions that were called.
    """
    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == number or (repeat and len(calls) > number):
                act(name)
            return real(*arguments, **options)

        return call

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(shutil, "_use_fd_functions", new=False))
        for place, name in (*((os, name) for name in FUNCTIONS), (folders, "exchange")):
            stack.enter_context(mock.patch.object(place, name, wrap(name, getattr(place, name))))
        yield calls


def kill_at_each_call(publication: Publication, work: Path, file_system: str = "usual") -> Faults:
    """Kill a process that publishes at its first call, another one at its second, and so on.

    The next run then finds the old content or the new one, and leaves nothing else.
    """

    def kill(_name: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    faults, clean = Faults(), list_clean(publication, work / "clean", "ab")
    for number in itertools.count(1):
        folder = _prepare(publication, work / f"kill-{number}")
        child = os.fork()
        if child == 0:
            with FILE_SYSTEMS[file_system](), at_call(number, kill):
                publication.publish(folder, "b")
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        publication.recover(folder)
        _examine(publication, folder, f"killed at call {number}", faults, clean)
        if code != -signal.SIGKILL:
            faults.calls = number - 1
            if code:
                faults.damaged.append(f"exit code {code}")
            return faults
    raise AssertionError("unreachable")


def fail_at_each_call(
    publication: Publication, work: Path, code: int, file_system: str = "usual", *, repeat: bool = False
) -> Faults:
    """Publish with an error of the operating system at the first call, then at the second, and so on.

    Args:
        publication: what is published.
        work: an empty folder.
        code: the error's number.
        file_system: one of FILE_SYSTEMS.
        repeat: whether all later calls fail as well: then only the next run may tidy up.
    """

    def refuse(_name: str) -> None:
        raise OSError(code, os.strerror(code))

    faults, clean = Faults(), list_clean(publication, work / f"clean-{errno.errorcode[code]}-{repeat}", "ab")
    for number in itertools.count(1):
        folder = _prepare(publication, work / f"{errno.errorcode[code]}-{repeat}-{number}")
        where = f"{errno.errorcode[code]} at call {number}"
        with FILE_SYSTEMS[file_system](), at_call(number, refuse, repeat=repeat) as calls:
            try:
                publication.publish(folder, "b")
            except (OutputError, OSError) as error:
                if code in (errno.ENOSPC, errno.EDQUOT) and isinstance(error, OutputError):
                    full = "No space left on device" in str(error)
                    faults.damaged += [] if full else [f"{where}: the message does not say why: {error}"]
        if len(calls) < number:
            faults.calls = number - 1
            return faults
        if repeat or calls[number - 1] in REMOVING:
            _as_if_ended(folder)
            publication.recover(folder)
        _examine(publication, folder, f"{where} ({calls[number - 1]})", faults, clean)
    raise AssertionError("unreachable")


def _prepare(publication: Publication, folder: Path) -> Path:
    folder.mkdir()
    publication.publish(folder, "a")
    return folder


def _as_if_ended(folder: Path) -> None:
    """Give what this process has left the name of a process that has ended."""
    for path in folder.glob(".c3d-export-*"):
        path.rename(path.with_name(path.name.replace(f"-{os.getpid()}.", "-4194303.")))


def _examine(
    publication: Publication, folder: Path, where: str, faults: Faults, clean: dict[str | None, list[str]]
) -> None:
    try:
        found = publication.read(folder)
        faults.found[str(found)] += 1
        if found is None and publication.may_be_missing:
            publication.publish(folder, "b")
            found = publication.read(folder)
    except (AssertionError, OSError) as error:
        found = f"{error}"
    if found not in clean:
        faults.damaged.append(f"{where}: {found or REFUSED}")
    elif (files := list_files(folder)) != clean[found]:
        faults.damaged.append(f"{where}: {files} are there with {found}, not {clean[found]}")
