"""A few lines of Python as the worker of a supervisor, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

SCRIPT = """
import itertools, os, signal, subprocess, sys, time
from pathlib import Path
from exporter.cli.error_handling import report_outcome
from exporter.isolation import worker
from exporter.isolation.signals import SIGNALS
from exporter.isolation.supervisor import supervise

for number in SIGNALS:  # whatever who started the tests ignores, as nohup does
    signal.signal(number, signal.SIG_IGN if number in {ignored} else signal.SIG_DFL)

def hang():
    for number in SIGNALS:  # as a command does
        signal.signal(number, lambda *_: None)
    print("hanging", os.getpid(), flush=True)
    max(itertools.count())  # C code without an end, in which no handler of Python runs

def work():
{body}
    worker.finish()
    sys.exit(0)

supervise(work, report_outcome)
"""


def script(body: str, ignored: tuple[int, ...] = ()) -> str:
    """Return the Python of a supervisor whose worker runs these lines; it ignores these signals only."""
    return SCRIPT.format(body=textwrap.indent(textwrap.dedent(body), "    "), ignored=ignored)


def start(body: str, cwd: Path, ignored: tuple[int, ...] = (), **environment: str) -> subprocess.Popen[str]:
    """Start a supervisor whose worker runs these lines, with pipes for stdout and stderr; `ignored` are signals."""
    return subprocess.Popen(
        [sys.executable, "-c", script(body, ignored)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def supervised(body: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a supervisor whose worker runs these lines, and return how it ended."""
    process = start(body, cwd, (), **environment)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid: int, seconds: float = 5.0) -> bool:
    """Return whether a process is gone within these seconds."""
    over = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > over:
            return False
        time.sleep(0.01)
    return True
