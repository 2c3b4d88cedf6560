"""Turns the way a worker process ended into the user's error, which names the library and file in use."""

from __future__ import annotations

import os
import signal

from exporter.errors import BadInputError, C3DExportError, LimitError, OutOfMemoryError
from exporter.isolation.board import State
from exporter.isolation.environment import cpu_limit
from exporter.isolation.signals import signal_name
from exporter.isolation.supervisor import Outcome
from exporter.memory_errors import TEXTS, address_space_limit
from models.text import format_memory


def describe(outcome: Outcome) -> C3DExportError | None:
    """Return the error that the user sees; None for a crash that no file and no library can be blamed for."""
    state = outcome.state
    calls = [outcome.call] if outcome.call else state.innermost()
    at = " or ".join(f"{_shown(call.path, state)}: {call.library}" for call in calls)
    step = f" at {state.step}" if state.step and calls == state.calls[-1:] else ""
    if outcome.reason in ("timeout", "memory", "killed"):
        return _limit(outcome, at, step)
    limited = not calls and address_space_limit() is not None  # nothing else is known to end it then
    if limited or TEXTS.search(outcome.last_line):
        doing = f"{' or '.join(call.library for call in calls) or 'the command'} was at work{step}"
        where = " or ".join(_shown(call.path, state) for call in calls) or None
        return OutOfMemoryError(where, doing, outcome.last_line or how_it_ended(outcome))
    if calls:
        what = "ended the process" if outcome.reason == "exited" else "crashed on it"
        return BadInputError(f"{at} {what}{step} ({how_it_ended(outcome)}){said(outcome)}")
    if outcome.reason == "crashed" and outcome.code == getattr(signal, "SIGBUS", None):
        return BadInputError("a file was cut off while it was read (SIGBUS); wait until it is complete")
    return None


def _limit(outcome: Outcome, at: str, step: str) -> LimitError:
    """Return the error for a limit that was reached.

    Args:
        outcome: how the worker ended.
        at: file and library at work; empty without one.
        step: ` at ` and what that was doing; empty where it does not say.
    """
    if outcome.reason == "timeout" and outcome.code == getattr(signal, "SIGXCPU", None):
        return LimitError(
            f"{at or 'the command'} was still at work{step} after {outcome.limit:,.4g} s of processor time (ulimit -t)"
        )
    if outcome.reason == "timeout":
        option = "--timeout" if outcome.call is None else "the default limit of one call"
        return LimitError(
            f"{at or 'the command'} was still at work{step} after {outcome.limit:,.4g} s ({option}); a larger "
            "--timeout allows more, --timeout 0 removes the limit"
        )
    if outcome.reason == "killed":
        return LimitError(
            f"{at or 'the command'} was killed{step}, most likely because the system has no memory left"
            f"{_or_time()}; smaller inputs take less"
        )
    if outcome.call is not None:
        option = "the default limit of one call on a file and inputs of these sizes"
    else:
        option = "--max-memory" if outcome.state.max_memory is not None else "nine tenths of what was available"
    return LimitError(
        f"{at or 'the command'} took more than {format_memory(outcome.limit)} of memory{step} ({option}); "
        "a larger --max-memory allows more"
    )


def _or_time() -> str:
    seconds = cpu_limit()
    return "" if seconds is None else f", or after {seconds} s of processor time (ulimit -t)"


def how_it_ended(outcome: Outcome) -> str:
    """Return the exit code or the name of the signal."""
    return f"exit code {outcome.code}" if outcome.reason == "exited" else signal_name(outcome.code)


def _shown(path: str, state: State) -> str:
    """Return a file's path as the user knows it: what is not published yet under its later name."""
    for stage, folder in state.stages:
        if path.startswith(stage + os.sep):
            return folder + path[len(stage) :]
    return path


def said(outcome: Outcome) -> str:
    """Return the last words of a crash, as they follow its name."""
    return f": {outcome.last_line}" if outcome.last_line else ""
