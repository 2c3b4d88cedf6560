"""The installed commands, run as a user runs them."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent

HIDE_PROJECT = """import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("models", "exporter"):
            raise ImportError(name)

sys.meta_path.insert(0, Absent())
"""
"""The beginning of a program in which this project cannot be imported."""


def run(command: str, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `c3d-export` or `verify` in `cwd`, with output captured, as in a pipe."""
    return subprocess.run(
        [str(BIN / command), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def python(code: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@dataclass(frozen=True)
class Done:
    """The result of a command: exit code, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def call(command: str, *arguments: object, cwd: Path, capture: pytest.CaptureFixture[str]) -> Done:
    """Run `c3d-export` or `verify` in this process, through the same boundary: no import of torch to wait for."""
    from exporter.cli import main
    from exporter.isolation.signals import SIGNALS

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    capture.readouterr()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [command, *map(str, arguments)])
        try:
            main.run_here(command)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    reported = capture.readouterr()
    return Done(int(ended.value.code or 0), reported.out, reported.err)
