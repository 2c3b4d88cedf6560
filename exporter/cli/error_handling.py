"""The one place where errors become a line on stderr and an exit code."""

import json
import os
import re
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

from exporter.errors import C3DExportError, OutputError, UsageError

BUG = 70
"""Exit code of an error that nobody foresaw (EX_SOFTWARE of sysexits.h)."""
SHOW_CURSOR = "\x1b[?25h\r\x1b[K"


def run(command: click.Command, name: str) -> NoReturn:
    """Run a command line and exit: 0, or the code of what went wrong, with one line on stderr.

    `--debug` anywhere on the line shows the traceback instead; `--json` puts the error on stdout as an object too.
    """
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        if "--json" in arguments:
            _print_json_error(UsageError(error.format_message()))
        code = error.exit_code
    except C3DExportError as error:
        if debug:
            traceback.print_exc()
        _print_error(error, machine="--json" in arguments)
        code = error.exit_code
    except OSError as error:
        # Whatever reads or writes the user's files has errors of its own; most likely stdout cannot be written to.
        if debug:
            traceback.print_exc()
        click.echo(f"Error: the system refuses: {one_line(str(error))}", err=True)
        code = C3DExportError.exit_code if isinstance(error, BrokenPipeError) else OutputError.exit_code
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - the boundary: anything else is a bug, and is told as one
        if debug:
            traceback.print_exc()
        click.echo(
            f"Error: a bug, not your input: {one_line(f'{type(error).__name__}: {error}')}; --debug shows where",
            err=True,
        )
        code = BUG
    sys.exit(code if isinstance(code, int) else 0)


def one_line(text: str) -> str:
    """Return text fit for a terminal's line: newlines become spaces, other control characters are escaped."""
    flat = re.sub(r"\s*\n\s*", " ", text.strip())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)


def _print_error(error: C3DExportError, *, machine: bool) -> None:
    click.echo(f"Error: {one_line(str(error))}", err=True)
    if machine and not error.reported:
        _print_json_error(error)


def _print_json_error(error: C3DExportError) -> None:
    click.echo(json.dumps({"error": error.to_dict()}, indent=2))


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End the process on Ctrl-C or SIGTERM, with nothing half-written left behind.

    Not by KeyboardInterrupt: raised while torch or its imports run, it is swallowed, turned into another error, or
    ends the process by an abort in C++.
    """
    if store := sys.modules.get("exporter.artifacts.store"):
        store.cleanup_staging()
    cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
    os.write(
        sys.stderr.fileno(),
        f"{cursor}stopped by {signal.Signals(number).name}; nothing half-written is left\n".encode(),
    )
    os._exit(128 + number)
