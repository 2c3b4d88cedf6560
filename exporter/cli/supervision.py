"""How the command line ends where its worker could not end by itself: crashed, killed, or at a limit."""

from __future__ import annotations

import signal

from exporter.cli.error_handling import INTERNAL_ERROR, print_error, report_error, report_stop
from exporter.errors import BadInputError, C3DExportError, LimitError
from exporter.isolation.supervisor import Outcome
from exporter.memory_errors import TEXTS


def report_outcome(outcome: Outcome) -> int:
    """Finish or remove what the worker had staged, print one line, and return the exit code."""
    _clean_up(outcome)
    if outcome.reason == "signalled":
        report_stop(outcome.code)
        return 128 + outcome.code
    error = describe(outcome)
    if error is None:
        name = signal.Signals(outcome.code).name
        print_error(f"this is a bug in c3d-export: its process was ended by {name}{_said(outcome)}")
        return INTERNAL_ERROR
    return report_error(error, as_json=outcome.state.as_json)


def describe(outcome: Outcome) -> C3DExportError | None:
    """Return the error that the user sees; None for a crash that no file and no library can be blamed for."""
    calls = outcome.state.calls
    call = calls[-1] if calls else None
    at = "" if call is None else f"{call.path}: {call.library} "
    if outcome.reason == "timeout":
        option = "--timeout" if outcome.state.timeout is not None else "the default limit of one step"
        return LimitError(
            f"{at}{'was still at work' if at else 'the command was still at work'} after {outcome.limit:,.0f} s "
            f"({option}); --timeout SECONDS allows more, --timeout 0 any"
        )
    if outcome.reason in ("memory", "killed"):
        took = (
            f"took more than {outcome.limit / 1e9:.1f} GB of memory"
            if outcome.reason == "memory"
            else "was killed, most likely because the system has no memory left"
        )
        option = "--max-memory" if outcome.state.max_memory is not None else "nine tenths of what was available"
        more = f" ({option})" if outcome.reason == "memory" else ""
        return LimitError(f"{at or 'the command '}{took}{more}")
    if TEXTS.search(outcome.last_words):
        return LimitError(f"{at or 'the command '}ran out of memory")
    if call is None:
        return None
    name = signal.Signals(outcome.code).name
    return BadInputError(f"{call.path}: {call.library} crashed on it ({name}){_said(outcome)}")


def _said(outcome: Outcome) -> str:
    return f": {outcome.last_words}" if outcome.last_words else ""


def _clean_up(outcome: Outcome) -> None:
    if outcome.state.stages:
        from pathlib import Path

        from exporter.artifacts.store import finish_or_discard

        for stage, folder in outcome.state.stages:
            finish_or_discard(Path(stage), Path(folder))
