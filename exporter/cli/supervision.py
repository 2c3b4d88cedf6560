"""How the command line ends where its worker could not end by itself: crashed, killed, or at a limit."""

from __future__ import annotations

import os
import sys

from exporter.cli.error_handling import (
    INTERNAL_ERROR,
    SHOW_CURSOR,
    command_line,
    print_error,
    report_error,
    report_stop,
)
from exporter.isolation.outcomes import describe, how_it_ended, said
from exporter.isolation.supervisor import Outcome
from exporter.memory_errors import as_memory_error


def report_outcome(outcome: Outcome) -> int:
    """Finish or remove what the worker had staged, say how it ended unless it did, and return the exit code."""
    if outcome.state.stages:
        from exporter.artifacts.store import clean_up

        clean_up(outcome.state.stages)
    if outcome.reason == "ended":
        return outcome.code
    if sys.stderr.isatty() and outcome.reason != "signalled":
        os.write(sys.stderr.fileno(), SHOW_CURSOR.encode())
    if outcome.reason == "signalled":
        report_stop(outcome.code)
        return 128 + outcome.code
    error = describe(outcome)
    if error is None:
        print_error(f"this is a bug in c3d-export: its process was ended by {how_it_ended(outcome)}{said(outcome)}")
        return INTERNAL_ERROR
    return report_error(as_memory_error(error, command_line()), as_json=outcome.state.as_json)
