"""Cases in forked processes: what the libraries take to import is paid once, and a crash or hang ends one case."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reliability_cases.base import Progress, Row

LANES = 2
"""Processes at a time."""
MAX_SECONDS = 2.0
"""Processor time of a case that reads a file."""
COMMAND_SECONDS = 30.0
"""Processor time of a case that runs commands."""
HANG_SECONDS = 90.0
"""A case that reports nothing for so long hangs."""
HEADROOM = 512 << 20
ADDRESS_SPACE = 24 << 30

Work = Callable[[int], tuple[str, str]]
"""Runs a case by its number; returns its outcome, and how it failed or nothing."""


def run_cases(
    row: Row,
    total: int,
    work: Work,
    get_size: Callable[[int], int] = lambda _: 0,
    seconds: float = MAX_SECONDS,
    *,
    own_memory: bool = True,
) -> Row:
    """Run cases 0 to `total` and add them to the row.

    A case fails where its work says so, where its process ends or reports nothing, where it takes more processor time
    than it may, or more memory than twice its file and HEADROOM.

    Args:
        row: gets the outcomes.
        total: number of cases.
        work: runs in a forked process.
        get_size: bytes of a case's file.
        seconds: of processor time that a case may take.
        own_memory: whether the memory of the process in which the work runs counts: not where that only makes the file,
            and the work measures the process that reads it.
    """
    progress = Progress(row, total)
    lanes = [_Lane(work, range(lane, total, LANES), seconds) for lane in range(min(LANES, total))]
    while open_lanes := [lane for lane in lanes if lane.start()]:
        readable, _, _ = select.select([lane.pipe for lane in open_lanes], [], [], 1.0)
        for lane in open_lanes:
            for number, outcome, failure, memory in lane.results(ready=lane.pipe in readable):
                over = own_memory and memory > 2 * get_size(number) + HEADROOM
                row.add(outcome, failure or (f"case {number} took {memory >> 20} MiB" if over else ""))
                progress.step()
    return progress.end()


class _Lane:
    """Cases one after another in a process, and in another one after a case that ended it."""

    def __init__(self, work: Work, numbers: range, seconds: float) -> None:
        self._work, self._numbers, self._seconds = work, numbers, seconds
        self._next = 0
        self._pid = 0
        self._heard = 0.0
        self._buffer = b""
        self.pipe = -1

    def start(self) -> bool:
        """Fork a process where none runs and cases are left; return whether one runs."""
        if self._pid or self._next >= len(self._numbers):
            return bool(self._pid)
        self.pipe, writing = os.pipe()
        sys.stdout.flush()
        self._pid = os.fork()
        if not self._pid:
            _serve(self._work, self._numbers[self._next :], writing, self._seconds)
        os.close(writing)
        self._heard, self._buffer = time.monotonic(), b""
        return True

    def results(self, *, ready: bool) -> Iterator[tuple[int, str, str, int]]:
        """Yield (case, outcome, failure, bytes) of what has arrived."""
        content = os.read(self.pipe, 1 << 16) if ready else b""
        if content:
            self._heard = time.monotonic()
            *lines, self._buffer = (self._buffer + content).split(b"\n")
            for line in lines:
                self._next += 1
                yield tuple(json.loads(line))
        elif ready or time.monotonic() - self._heard > HANG_SECONDS:
            yield from self._end(hangs=not ready)

    def _end(self, *, hangs: bool) -> Iterator[tuple[int, str, str, int]]:
        if hangs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.close(self.pipe)
        self._pid = 0
        if self._next < len(self._numbers):
            number = self._numbers[self._next]
            self._next += 1
            code = os.waitstatus_to_exitcode(status)
            what = "hangs" if hangs else f"ended the process with {code}"
            yield number, what, f"case {number} {what}", 0


def _serve(work: Work, numbers: range, pipe: int, seconds: float) -> NoReturn:
    """Run cases and write their results to the pipe."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for number in numbers:
        before = reset_peak()
        start = _processor_seconds()
        try:
            outcome, failure = work(number)
        except BaseException as error:  # noqa: BLE001 - also what is no Exception is a failure of the case
            outcome, failure = "failed", f"case {number}: {type(error).__name__}: {error}"
        took = _processor_seconds() - start
        if took > seconds and not failure:
            failure = f"case {number} took {took:.1f} s"
        line = json.dumps([number, outcome, failure, peak_memory() - before])
        os.write(pipe, line.encode() + b"\n")
    os._exit(0)


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def reset_peak() -> int:
    """Have the system measure the peak of this process's memory anew; return what it holds now, in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: proc(5)
    return _status("VmRSS")


def peak_memory() -> int:
    """Return the peak of this process's resident memory since `reset_peak`, in bytes."""
    return _status("VmHWM")


def _status(key: str) -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(f"{key}:")), 0)


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        code: its exit code; negative where a signal ended the tool itself; None where it was still there at the limit.
        stdout: what it printed.
        stderr: likewise.
        seconds: that it took.
        processor: seconds of processor time of all its processes.
        peak: bytes of the largest of its processes.
    """

    code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    processor: float
    peak: int

    @property
    def faults(self) -> list[str]:
        """What no command may do, whatever its input: see `SECURITY.md`."""
        lines = self.stderr.decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if line.startswith("Error")]
        found = {
            "it hangs": self.code is None,
            f"signal {self.code}": (self.code or 0) < 0,
            f"exit {self.code}": (self.code or 0) not in (0, 1, 2, 3, 4, 5),
            "a traceback": b"Traceback (most recent" in self.stderr,
            f"{len(errors)} lines of error": (self.code or 0) in (2, 3, 4, 5) and len(errors) != 1,
            "an error line of more than 500 characters": any(len(line) > 507 for line in errors),
            "control characters": any((byte < 32 and byte not in b"\n\t") or byte == 127 for byte in self.stderr),
            "control characters on stdout": any(byte < 32 and byte not in b"\n\t" for byte in self.stdout),
        }
        return [what for what, is_so in found.items() if is_so]


def import_commands() -> None:
    """Import what the commands use, so that a forked one takes the time of its file alone."""
    for module in ("inspect", "verify", "optimize", "convert", "export"):
        importlib.import_module(f"exporter.workflows.{module}")
    for module in ("exporter.cli.main", "exporter.reports.console", "onnxruntime", "psutil", "rich.live"):
        importlib.import_module(module)


def run_command(arguments: list[str], folder: Path, limit: float = 60.0) -> Done:
    """Run `c3d-export` or `verify` with its supervisor, forked from this process: nothing is imported again.

    Args:
        arguments: the command line.
        folder: the working folder, where the output is kept meanwhile.
        limit: seconds after which it is killed.
    """
    out, err = folder / ".stdout", folder / ".stderr"
    start = time.monotonic()
    pid = os.fork()
    if not pid:
        become(arguments, folder, out, err)
    ended, status, usage = 0, 0, None
    while not ended and time.monotonic() - start < limit:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        time.sleep(0 if ended else 0.02)
    if not ended:
        os.killpg(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - start
    code = os.waitstatus_to_exitcode(status) if ended else None
    assert usage is not None
    processor = usage.ru_utime + usage.ru_stime
    return Done(code, out.read_bytes(), err.read_bytes(), seconds, processor, usage.ru_maxrss << 10)


def become(arguments: list[str], folder: Path, out: Path, err: Path) -> NoReturn:
    """Turn this process into `c3d-export` or `verify` with its supervisor, whose output goes to files."""
    from exporter.cli.main import main, verify_main

    os.setpgid(0, 0)
    os.chdir(folder)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), descriptor)
    sys.argv = arguments
    try:
        (verify_main if arguments[0] == "verify" else main)()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:  # noqa: BLE001 - a traceback is a failure, and must not reach this script
        import traceback

        traceback.print_exc()
    os._exit(99)
