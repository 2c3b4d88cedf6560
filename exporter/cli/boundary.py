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

from exporter.errors import C3DExportError

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
        code = error.exit_code
    except C3DExportError as error:
        if debug:
            traceback.print_exc()
        _tell(error, machine="--json" in arguments)
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output has gone (`| head`). What it did not read it does not want; stdout is pointed
        # elsewhere, so that the interpreter's last flush does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
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


def _tell(error: C3DExportError, *, machine: bool) -> None:
    click.echo(f"Error: {one_line(str(error))}", err=True)
    if machine and not error.told:
        click.echo(json.dumps({"error": error.as_object()}, indent=2))


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End the process on Ctrl-C or SIGTERM, with nothing half-written left behind.

    Not by KeyboardInterrupt: raised while torch or its imports run, it is swallowed, turned into another error, or
    ends the process by an abort in C++.
    """
    if publish := sys.modules.get("exporter.publish"):
        publish.settle_open()
    cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
    os.write(
        sys.stderr.fileno(),
        f"{cursor}stopped by {signal.Signals(number).name}; nothing half-written is left\n".encode(),
    )
    os._exit(128 + number)
