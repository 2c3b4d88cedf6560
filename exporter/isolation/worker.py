"""The worker's side: it reports to the supervisor what it is doing. Without a supervisor these functions do nothing."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from exporter.isolation.board import MAX_TEXT, Board, NativeCall, State
from models.native import watch_native_calls

P = ParamSpec("P")
R = TypeVar("R")

CALL_SECONDS = 300.0
SECONDS_PER_MB = 2.0
"""For each megabyte of the file: a network of 300 MB has 15 minutes for one batch."""
MULTIPLY_ADDS_PER_SECOND = 1e8
"""A graph is assumed to run at least this fast: a hundredth of one core."""
CALL_BYTES = 8 << 30
BYTES_PER_FILE_BYTE = 16
BYTES_PER_INPUT_BYTE = 200
"""A call may take `CALL_BYTES`, and this much for each byte of its file and of a batch of inputs."""

_state = State()
_files: list[str] = []
_board: Board | None = None
_lock = threading.RLock()
_work_seconds, _work_bytes = 0.0, 0
_calls = 0


def attach(board: Board) -> None:
    """Report to a supervisor from now on, in `board`, the memory that it shares with this process."""
    global _board  # noqa: PLW0603 - a process has one supervisor
    _board = board
    watch_native_calls(native_call)
    _write_state()


def detach() -> None:
    """Stop reporting, in a process that was forked from a worker."""
    global _board  # noqa: PLW0603 - see `attach`
    _board = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=detach)


def is_supervised() -> bool:
    """Return whether a supervisor watches this process."""
    return _board is not None


def begin(*, as_json: bool = False) -> None:
    """Forget the limits of a former command in this process, and state whether errors are also printed as JSON.

    Staging folders that it could not remove stay listed while they exist.
    """
    global _work_seconds, _work_bytes
    _state.timeout = _state.max_memory = None
    _state.as_json, _state.finished = as_json, False
    _state.stages = [(stage, folder) for stage, folder in _state.stages if os.path.lexists(stage)]
    _state.new_folders = _state.new_folders if _state.stages else []
    _work_seconds, _work_bytes = 0.0, 0
    _write_state()


def finish() -> None:
    """Say that this process ends now, by its own decision, with the command's exit code."""
    _state.finished = True
    _write_state()


def set_timeout(seconds: float | None) -> None:
    """State how long the whole command may take; 0 for no limit, None for the default: each call has one."""
    _state.timeout = seconds
    _write_state()


def set_max_memory(limit: int | None) -> None:
    """State the bytes that the command may hold; None for the default."""
    _state.max_memory = limit
    _write_state()


def expect_work(multiply_adds: int, memory: int) -> None:
    """State what a call of this command may take as estimated beforehand: the default limits allow that too.

    Args:
        multiply_adds: of its largest call.
        memory: bytes.
    """
    global _work_seconds, _work_bytes  # noqa: PLW0603 - of the command that this process runs
    _work_seconds = max(_work_seconds, multiply_adds / MULTIPLY_ADDS_PER_SECOND)
    _work_bytes = max(_work_bytes, 2 * memory)


@contextlib.contextmanager
def file_at_work(path: str | Path) -> Generator[None]:
    """Say which of the user's files the block is about: `native_call` names it for calls that state no file."""
    name = os.fspath(path)
    _files.append(name)
    try:
        yield
    finally:
        _files.remove(name)


@contextlib.contextmanager
def native_call(
    library: str, path: str | Path | None = None, seconds: float | None = None, *, input_bytes: int = 0
) -> Generator[None]:
    """Say that a library is at work on a file, for the block.

    Where it crashes, the error names both. Where it takes longer than `seconds`, or more memory than a file and inputs
    of these sizes account for, the command ends with exit code 5.

    Args:
        library: its name for people.
        path: the file; None for that of the call around this one, or of `file_at_work`. Without any, the library works
            on something that this tool made itself, and there is no limit.
        seconds: the most that it may take; None for the default, which grows with the file; infinity for no limit.
        input_bytes: the size of what it is given besides the file.
    """
    found = None if _board is None else _find_path(path)
    if found is None:
        yield
        return
    call = _start(library, found, seconds, input_bytes)
    try:
        yield
    finally:
        with _lock:
            _state.calls = [each for each in _state.calls if each is not call]
            at_step(b"")
            _write_state()


def reads_file(library: str) -> Callable[[Callable[Concatenate[Path, P], R]], Callable[Concatenate[Path, P], R]]:
    """Decorate a function whose first argument is the file that a library reads: its call is a `native_call`."""

    def decorate(function: Callable[Concatenate[Path, P], R]) -> Callable[Concatenate[Path, P], R]:
        @functools.wraps(function)
        def call(path: Path, *arguments: P.args, **named: P.kwargs) -> R:
            with native_call(library, path):
                return function(path, *arguments, **named)

        return call

    return decorate


def _find_path(path: str | Path | None) -> str | None:
    """Return the file to name in messages: for a temporary file, the user's file that it was made from."""
    given = None if path is None else os.fspath(path)
    stages = tuple(stage + os.sep for stage, _ in _state.stages)
    staged = given is not None and given.startswith(stages)
    if given is not None and not (staged and _files):
        return given
    if _files and (staged or not _state.calls):
        return _files[-1]
    return _state.calls[-1].path if _state.calls else None


def at_step(step: bytes) -> None:
    """Say what the innermost call is doing, such as `conv1 (Conv)`, in UTF-8."""
    if _board is not None:
        _board.write_step(step)


def _start(library: str, path: str, seconds: float | None, input_bytes: int) -> NativeCall:
    global _calls  # noqa: PLW0603 - the number of calls of this process
    size = _size(path)
    limit = default_seconds(path) if seconds is None else seconds
    memory = CALL_BYTES + BYTES_PER_FILE_BYTE * size + BYTES_PER_INPUT_BYTE * input_bytes + _work_bytes
    deadline = None if math.isinf(limit) else time.monotonic() + limit
    with _lock:
        _calls += 1
        call = NativeCall(library[:MAX_TEXT], path[:MAX_TEXT], deadline, limit, memory, _calls, threading.get_ident())
        _state.calls = [*_state.calls, call]
        at_step(b"")
        _write_state()
    return call


def _size(path: str | Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - called for each batch
    except (OSError, ValueError):
        return 0


def default_seconds(path: str | Path) -> float:
    """Return the limit of a call on a file, in seconds."""
    return CALL_SECONDS + SECONDS_PER_MB * _size(path) / 1e6 + _work_seconds


def add_stage(stage: Path, folder: Path, made: Sequence[Path] = ()) -> None:
    """Say that a staging folder is in use, and which folders were made for it, an inner one before the one around it.

    The supervisor that ends this process removes it, and them where nothing is in them.
    """
    with _lock:
        _state.stages = [*_state.stages, (str(stage), str(folder))]
        _state.new_folders = [*map(str, made), *_state.new_folders]
        _write_state()


def remove_stage(stage: Path, made: Sequence[Path] = ()) -> None:
    """Say that a staging folder is gone, and that the folders made for it are gone or in use."""
    with _lock:
        _state.new_folders = [folder for folder in _state.new_folders if Path(folder) not in made]
        _state.stages = [entry for entry in _state.stages if entry[0] != str(stage)]
        _write_state()


def _write_state() -> None:
    if _board is not None:
        with _lock:
            _board.write(_state)
