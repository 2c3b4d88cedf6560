"""The one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from exporter.cli.renamed import explain_renaming
from exporter.errors import (
    C3DExportError,
    CheckFailedError,
    LimitError,
    OutOfMemoryError,
    OutputError,
    UsageError,
    refuse_one,
)
from exporter.full_disks import DISK_FULL, full_disk_error, is_full, temporary_parent
from exporter.isolation.outcomes import describe, how_it_ended, said
from exporter.isolation.signals import SIGNALS, is_handled, signal_name
from exporter.isolation.streams import accept_any_text, silence, user_stderr, user_stdout
from exporter.isolation.supervisor import Outcome
from exporter.isolation.worker import begin, finish
from exporter.memory_errors import as_memory_error, release_frames, spare_address_space
from models.text import shorten, visible

INTERNAL_ERROR = 70
"""Exit code of an unexpected error (EX_SOFTWARE of sysexits.h)."""
AT_A_SIGNAL = (
    ("exporter.artifacts.store", "cleanup_staging"),
    ("models.temporary", "remove_own_parts"),
    ("exporter.inference.ray_cluster", "stop_cluster"),
    ("exporter.workflows.variant_exports", "describe_unfinished"),
)
"""(module, function) of what is called when a signal ends the process, if the module was imported; a function may
return what the user must know."""
NO_MEMORY = b"Error: memory ran out, for this message too; close other programs, or raise the limit of this process\n"
MAX_COMMAND = 200
"""Characters of the command line in a message."""
MAX_ERROR = 500
"""Characters of an error's line; as UTF-8 it may have more bytes."""
_NEWLINES = re.compile(r"\s*\n\s*")
SHOW_CURSOR = "\x1b[?25h\r\x1b[K"


def run(command: click.Command, name: str) -> NoReturn:
    """Run a command and exit with 0 or the exit code of the error, which is one line on stderr.

    With `--debug` on the command line the traceback is printed too. With `--json` the error is also one JSON object
    on stdout. Parity reports that an error carries are printed before it.
    """
    arguments = sys.argv[1:]
    as_json, code = "--json" in arguments, 0
    begin(as_json=as_json)
    accept_any_text()
    spare_address_space()
    for number in SIGNALS:
        if is_handled(number):
            signal.signal(number, partial(_stop, os.getpid()))
    try:
        result = command.main(arguments, prog_name=name, standalone_mode=False)
        code = result if isinstance(result, int) else 0
        user_stdout().flush()
    except click.ClickException as error:
        usage = explain_renaming(error)
        if isinstance(usage, NoArgsIsHelpError):
            usage.show()
            finish()
            sys.exit(usage.exit_code)
        if isinstance(usage, click.UsageError) and (context := usage.ctx) is not None:
            with contextlib.suppress(OSError):
                print(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", file=user_stderr())
        print_error(usage.format_message())
        if as_json:
            _print_json(UsageError(usage.format_message()))
        code = usage.exit_code
    except Exception as error:  # noqa: BLE001 - every error ends here
        if "--debug" in arguments:
            traceback.print_exc()
        code = report_any(error, as_json=as_json)
    silence()
    finish()
    sys.exit(code)


def report_any(error: Exception, *, as_json: bool) -> int:
    """Print whatever ended a command, and return its exit code; where memory ran out, after giving back what it held.

    Without memory for even that, one fixed line is written.
    """
    try:
        told = as_memory_error(error, command_line(), "it started")
        if isinstance(told, OutOfMemoryError):
            release_frames(error)
        finish()  # before its line, lest the supervisor prints another one where a limit is reached now
        return report_error(told, as_json=as_json)
    except MemoryError:
        os.write(user_stderr().fileno(), NO_MEMORY)
        finish()
        os._exit(LimitError.exit_code)


def command_line() -> str:
    """Return the command as it was given, for messages without another file; of addresses without their secrets."""
    from models.http.addresses import display_source

    return shlex.join([Path(sys.argv[0]).name, *map(display_source, sys.argv[1:])])[:MAX_COMMAND]


def one_line(text: str, most: int = MAX_ERROR) -> str:
    """Return text as one line of at most `most` characters for a terminal.

    Newlines become spaces, what is not visible is escaped, and the middle of a longer text is left out.
    """
    return shorten(_NEWLINES.sub(" ", text.strip()), most)


def print_error(message: str, more: str = "") -> None:
    """Print the one line that an error has on stderr, of at most MAX_ERROR characters.

    Args:
        message: what is wrong first, what to do last; its middle is what is left out where it is too long.
        more: text of the tool's own that is printed whole after it.
    """
    start = "Error: "
    print_line(f"{start}{one_line(message, MAX_ERROR - len(start) - len(more))}{more}")


def report_refused(errors: Sequence[C3DExportError]) -> int:
    """Print a line for each file that a command refused while it went on with the others; return its exit code.

    It is the first one's; 0 where there is none.
    """
    for error in errors:
        print_error(str(error))
    return errors[0].exit_code if errors else 0


def write_last(files: Iterable[tuple[str | Path | None, Callable[[Any], object]]], *, as_json: bool) -> int:
    """Write the files that options ask for, after the result was printed, and print their names.

    A disk that is full now must not hide the result, nor may an error add a second object to the one of `--json`: it is
    only a line on stderr, and the files after it are not written.

    Args:
        files: each file, None where its option was not given, and what writes it.
        as_json: the result is on stdout as JSON, and no name may follow it.

    Returns:
        The exit code of the error; 0 without one.
    """
    errors: list[C3DExportError] = []
    with refuse_one(errors.append):
        for file, write in files:
            if file is not None:
                write(file)
                if not as_json:
                    print(f"wrote    {visible(str(file))}", file=user_stdout(), flush=True)
    return report_refused(errors)


def print_line(text: str) -> None:
    """Print a line of at most MAX_ERROR characters on stderr; nothing where stderr takes none (full, or closed)."""
    with contextlib.suppress(OSError):
        print(one_line(text), file=user_stderr(), flush=True)


def exit_code(error: Exception) -> int:
    """Return the exit code with which the command line ends on an error."""
    if isinstance(error, C3DExportError):
        return error.exit_code
    if isinstance(error, OSError):
        # The library translates the errors of the user's files; most likely stdout cannot be written to.
        return C3DExportError.exit_code if isinstance(error, BrokenPipeError) else OutputError.exit_code
    return INTERNAL_ERROR


def report_error(error: Exception, *, as_json: bool) -> int:
    """Print an error and return its exit code; an error on a full disk for temporary files as one of that disk."""
    of_stdout = isinstance(error, OSError)
    temporary = temporary_parent()
    if is_full(temporary):
        error = full_disk_error(error, temporary) or error
    if isinstance(error, C3DExportError):
        if isinstance(error, CheckFailedError) and error.reports and not as_json:
            from exporter.reports.console import stdout
            from exporter.reports.parity import print_reports

            with contextlib.suppress(OSError):  # the exit code says it where stdout cannot
                print_reports(error.reports, stdout())
        print_error(str(error))
        if as_json:
            _print_json(error)
    elif isinstance(error, OSError):
        full = error.errno in DISK_FULL and error.filename is None
        where = ", most likely for the standard output" if full else ""
        print_error(f"the operating system reports: {error}{where}")
    else:
        print_error(f"this is a bug in c3d-export: {type(error).__name__}: {error}", "; --debug shows the traceback")
    if of_stdout:  # most likely: then the rest of it cannot be written either
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), user_stdout().fileno())
    return exit_code(error)


def _print_json(error: C3DExportError) -> None:
    from exporter.reports.console import print_json
    from exporter.reports.json_report import error_to_dict

    with contextlib.suppress(OSError):  # the exit code says it where stdout cannot
        print_json(error_to_dict(error))


def _stop(process: int, number: int, _frame: FrameType | None) -> NoReturn:
    """End the process on Ctrl-C, SIGTERM or SIGHUP, after the staging folders are removed by the command's process.

    One that a library forked has the handlers too, and ends alone.

    A KeyboardInterrupt would not do: raised while torch or its imports run, it is swallowed, turned into another
    error, or ends the process by an abort in C++.
    """
    for each in SIGNALS:  # a terminal sends them to all processes, and the supervisor passes its own on
        signal.signal(each, signal.SIG_IGN)
    if os.getpid() != process:
        os._exit(128 + number)
    told: list[str] = []
    for module, name in AT_A_SIGNAL:
        cleanup = getattr(sys.modules.get(module), name, None)
        if cleanup is not None:  # otherwise the module is not there yet, or is being imported
            told.append(cleanup() or "")
    finish()  # first: the supervisor says it otherwise
    report_stop(number, "".join(f"; {text}" for text in told if text))
    os._exit(128 + number)


def report_stop(number: int, more: str = "") -> None:
    """Print that a signal ended the tool."""
    stream = user_stderr()
    cursor = SHOW_CURSOR if stream.isatty() else ""
    line = one_line(f"stopped by {signal_name(number)}; no incomplete files are left{more}")
    with contextlib.suppress(OSError):
        os.write(stream.fileno(), f"{cursor}{line}\n".encode(errors="backslashreplace"))


def report_outcome(outcome: Outcome) -> int:
    """Finish or remove what the worker had staged, say how it ended unless it did, and return the exit code."""
    if outcome.state.stages:
        from exporter.artifacts.store import clean_up

        clean_up(outcome.state.stages, outcome.state.new_folders)
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
