"""The worker's side: it says what it is doing. In a process without a supervisor these functions only keep a list."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from pathlib import Path

from exporter.isolation.board import MAX_TEXT, Board, NativeCall, State

CALL_SECONDS = 300.0
BYTES_PER_SECOND = 1e6
"""Seconds that a call may take unless it says more: CALL_SECONDS, and one for each BYTES_PER_SECOND of its file."""

_state = State()
_board: Board | None = None


def attach(board: Board) -> None:
    """Write to a supervisor's board from now on."""
    global _board  # noqa: PLW0603 - a process has one supervisor
    _board = board
    _tell()


def set_limits(timeout: float | None = None, max_memory: int | None = None) -> None:
    """State the limits of the command (`State`); None leaves the default."""
    _state.timeout, _state.max_memory = timeout, max_memory
    _tell()


def set_json(*, as_json: bool) -> None:
    """State whether errors are also printed as JSON."""
    _state.as_json = as_json
    _tell()


@contextlib.contextmanager
def native_call(library: str, path: str | Path, seconds: float | None = None) -> Generator[None]:
    """Say that a library is at work on a file, for the block.

    Where it crashes, the error names both. Where it takes longer than `seconds`, the command ends with exit code 5.

    Args:
        library: its name for people.
        path: the file.
        seconds: the most that it may take; None for the default, which grows with the file.
    """
    limit = default_seconds(path) if seconds is None else seconds
    outer = [call.deadline for call in _state.calls if call.deadline is not None]
    deadline = min(time.monotonic() + limit, *outer) if outer else time.monotonic() + limit
    _state.calls.append(NativeCall(library[:MAX_TEXT], os.fspath(path)[:MAX_TEXT], deadline, limit))
    _tell()
    try:
        yield
    finally:
        _state.calls.pop()
        _tell()


def default_seconds(path: str | Path) -> float:
    """Return the limit of a call on a file, in seconds."""
    try:
        return CALL_SECONDS + Path(path).stat().st_size / BYTES_PER_SECOND
    except OSError:
        return CALL_SECONDS


def add_stage(stage: Path, folder: Path) -> None:
    """Say that a staging folder is in use: whoever ends this process removes it."""
    _state.stages.append((str(stage), str(folder)))
    _tell()


def remove_stage(stage: Path) -> None:
    """Say that a staging folder is gone."""
    _state.stages = [entry for entry in _state.stages if entry[0] != str(stage)]
    _tell()


def _tell() -> None:
    if _board is not None:
        _board.write(_state)
