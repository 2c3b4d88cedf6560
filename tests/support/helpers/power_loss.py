"""What a disk may hold after a power failure, for every moment of a run and every order in which changes reach it.

`Recorder` logs what a block does below a folder: each change of names (create, link, rename, unlink, mkdir, rmdir), each
fsync of a file or folder, and what every file then holds. `crash_states` yields what the disk may hold if power fails
after each of them, on a file system that promises as little as POSIX does:

* A change of names is durable once one of its folders is synced. Of the others any subset may be there, in any order;
  each of them completely or not at all.
* The content of a file is durable as it was when the file was synced. Otherwise the file may be empty, hold the first
  half, hold zeros, or all of it, although its name is durable (ext4 without auto_da_alloc).

Source of the model: Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from exporter.artifacts import folders

FUNCTIONS = ("fsync", "link", "mkdir", "remove", "rename", "replace", "rmdir", "symlink", "unlink")
DATA = ("whole", "empty", "half", "zeros")
"""What a file may hold that was not synced."""

Names = dict[int, dict[str, int]]
"""{number of a folder: {name: number of a file or folder}}."""


@dataclass(frozen=True)
class Change:
    """A name in a folder that means another file now; None where there is none."""

    folder: int
    name: str
    now: int | None


@dataclass(frozen=True)
class Event:
    """A change of names, atomic in itself, or a sync; and what files hold after it that held something else before."""

    what: str
    changes: tuple[Change, ...] = ()
    synced: int | None = None
    contents: Mapping[int, bytes] = field(default_factory=dict[int, bytes])


@dataclass
class Recorder:
    """The events of a block, below one folder.

    Attributes:
        root: the folder.
        events: what happened.
        first: the names at the start, all of them durable, and what the files held.
    """

    root: Path
    events: list[Event] = field(default_factory=list[Event])
    first: Names = field(default_factory=dict[int, dict[str, int]])
    first_contents: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def __post_init__(self) -> None:
        self._pins: dict[int, int] = {}  # open descriptors: no number is used again while they are there
        self.folders: set[int] = set()
        self.names: Names = {}
        self.contents: dict[int, bytes] = {}
        self.root_number = self.root.stat().st_ino
        self._look("start")
        self.events.clear()
        self.first, self.first_contents = {k: dict(v) for k, v in self.names.items()}, dict(self.contents)

    def close(self) -> None:
        """Log what came last, and release the files."""
        self._look("native")
        for descriptor in self._pins.values():
            os.close(descriptor)

    def call(self, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run a function of `os` and log what it changed."""
        self._look("native")  # what other code has written since
        synced = os.fstat(arguments[0]).st_ino if name == "fsync" else None
        result = real(*arguments, **options)
        if synced is not None:
            self.events.append(Event("fsync", synced=synced))
        else:
            self._look(name)
        return result

    def _look(self, what: str) -> None:
        """Compare the folder with the last look at it, and log the difference."""
        names: Names = {}
        contents: dict[int, bytes] = {}
        self._walk(self.root, names, contents)
        changes = [
            Change(folder, name, names.get(folder, {}).get(name))
            for folder in self.names.keys() | names.keys()
            for name in sorted(self.names.get(folder, {}).keys() | names.get(folder, {}).keys())
            if self.names.get(folder, {}).get(name) != names.get(folder, {}).get(name)
            and (folder in names or folder not in self._gone(names))
        ]
        held = {number: content for number, content in contents.items() if self.contents.get(number) != content}
        if what == "native":  # each is a step of its own
            self.events += [Event(what, (change,)) for change in changes]
            if held:
                self.events.append(Event("write", contents=held))
        elif changes or held:
            self.events.append(Event(what, tuple(changes), contents=held))
        self.names, self.contents = names, self.contents | contents

    def _gone(self, names: Names) -> set[int]:
        """Return the folders that are removed as a whole: their entries go with them."""
        return self.names.keys() - names.keys()

    def _walk(self, folder: Path, names: Names, contents: dict[int, bytes]) -> None:
        entries = names.setdefault(self._pin(folder), {})
        self.folders |= names.keys()
        for path in sorted(folder.iterdir()):
            entries[path.name] = self._pin(path)
            if path.is_dir() and not path.is_symlink():
                self._walk(path, names, contents)
            elif path.is_file():
                contents[entries[path.name]] = path.read_bytes()

    def _pin(self, path: Path) -> int:
        number = path.lstat().st_ino
        if number not in self._pins:
            self._pins[number] = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        return number


@contextmanager
def record(root: Path) -> Generator[Recorder]:
    """Log what the block does below a folder."""
    recorder = Recorder(root)
    with mock.patch.multiple(shutil, _use_fd_functions=False):
        places = [*((os, name) for name in FUNCTIONS), (folders, "exchange")]
        patches = [
            mock.patch.object(place, name, _recording(recorder, name, getattr(place, name))) for place, name in places
        ]
        for patch in patches:
            patch.start()
        try:
            yield recorder
        finally:
            for patch in patches:
                patch.stop()
            recorder.close()


def _recording(recorder: Recorder, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: recorder.call(name, real, *arguments, **options)


@dataclass(frozen=True)
class Crash:
    """What a disk may hold.

    Attributes:
        after: number of the events before the power failure.
        kept: the changes of names, not synced, that it holds.
        data: what files hold that were not synced: one of DATA.
        names: all names.
        contents: what the files hold.
    """

    after: int
    kept: tuple[str, ...]
    data: str
    names: Names
    contents: Mapping[int, bytes]

    def write(self, root: int, folder: Path) -> None:
        """Write it to an empty folder."""
        self._write(root, folder, {})

    def _write(self, number: int, folder: Path, written: dict[int, Path]) -> None:
        folder.mkdir(exist_ok=True)
        for name, entry in self.names.get(number, {}).items():
            if entry in self.names:
                self._write(entry, folder / name, written)
            elif entry in written:
                (folder / name).hardlink_to(written[entry])
            else:
                (folder / name).write_bytes(self.contents.get(entry, b""))
                written[entry] = folder / name

    def key(self, root: int) -> object:
        """What tells this state from others."""
        return _freeze(root, self.names, self.contents)


def _freeze(number: int, names: Names, contents: Mapping[int, bytes]) -> object:
    if number not in names:
        return number, contents.get(number, b"")
    return tuple((name, _freeze(entry, names, contents)) for name, entry in sorted(names[number].items()))


def crash_states(recorder: Recorder, at_once: int, seed: int = 0) -> Iterator[Crash]:
    """Yield each state that the disk may be in, once.

    Args:
        recorder: what happened.
        at_once: the most subsets of changes to take at one moment; with more, the rest is drawn at random.
        seed: of the drawing.
    """
    draw = random.Random(seed)
    durable = {number: dict(entries) for number, entries in recorder.first.items()}
    synced, current = dict(recorder.first_contents), dict(recorder.first_contents)
    pending: list[Event] = []
    seen: set[object] = set()
    for after in range(len(recorder.events) + 1):
        if after:
            event = recorder.events[after - 1]
            current |= event.contents
            if event.changes:
                pending.append(event)
            if event.synced is not None and event.synced in current:
                synced[event.synced] = current[event.synced]
            elif event.synced is not None:
                done = [one for one in pending if any(change.folder == event.synced for change in one.changes)]
                _apply(durable, done)
                pending = [one for one in pending if one not in done]
        for kept in _subsets(pending, at_once, draw):
            names = {number: dict(durable.get(number, {})) for number in recorder.folders}
            _apply(names, kept)
            for data in DATA:
                contents = {
                    number: content if synced.get(number) == content else _damaged(content, synced.get(number), data)
                    for number, content in current.items()
                }
                crash = Crash(after, tuple(event.what for event in kept), data, names, contents)
                if (key := crash.key(recorder.root_number)) not in seen:
                    seen.add(key)
                    yield crash


def _apply(names: Names, events: list[Event]) -> None:
    for change in itertools.chain.from_iterable(event.changes for event in events):
        entries = names.setdefault(change.folder, {})
        if change.now is None:
            entries.pop(change.name, None)
        else:
            entries[change.name] = change.now


def _damaged(content: bytes, synced: bytes | None, data: str) -> bytes:
    if data == "whole":
        return content
    if data == "half":
        return content[: len(content) // 2]
    return bytes(len(content)) if data == "zeros" else synced or b""


def _subsets(events: list[Event], at_once: int, draw: random.Random) -> Iterator[list[Event]]:
    if 2 ** len(events) <= at_once:
        for chosen in itertools.product((False, True), repeat=len(events)):
            yield list(itertools.compress(events, chosen))
        return
    yield []
    yield events
    for number in range(len(events)):
        yield [events[number]]
        yield events[:number] + events[number + 1 :]
        yield events[:number]
    for _ in range(at_once - 3 * len(events) - 2):
        yield [event for event in events if draw.random() < 0.5]
