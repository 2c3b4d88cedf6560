"""This end of the pipe to a target's process (`exporter/bench/worker_main.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from exporter.isolation.signals import signal_name
from exporter.isolation.streams import last_line

WORKER = Path(__file__).with_name("worker_main.py")
RUN_FILE = "import sys; del sys.argv[0], sys.path[0]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
"""Runs a file without its folder in `sys.path`, where `types.py` and others would hide the standard library's."""
REPLY_TIMEOUT_S = 600.0
"""Seconds that a process may take to reply."""
EXIT_TIMEOUT_S = 10.0

FailureKind = Literal["missing", "refused", "failed"]


def thread_variables(threads: int) -> dict[str, str]:
    """Return the variables by which matrix libraries take their thread count."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def child_environment(interpreter: Path) -> dict[str, str]:
    """Return the environment for an interpreter; another one than this must not find this one's packages."""
    own = interpreter == Path(sys.executable)
    return {name: value for name, value in os.environ.items() if own or name not in ("PYTHONPATH", "PYTHONHOME")}


class WorkerError(Exception):
    """A target could not do what was asked.

    Attributes:
        kind: `missing` (library, device, compiler), `refused` (the model), `failed` (while running, or its process).
    """

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind


class Worker:
    """A target's process, from entry to exit."""

    def __init__(self, interpreter: Path, environment: dict[str, str], deadline: float = REPLY_TIMEOUT_S):
        self.interpreter, self.environment, self.deadline = interpreter, environment, deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Start the process.

        Raises:
            WorkerError: the interpreter cannot be started.
        """
        self._stderr = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter is the user's own choice
                [str(self.interpreter), "-c", RUN_FILE, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**child_environment(self.interpreter), **self.environment},
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError("missing", f"{self.interpreter} cannot be started: {error.strerror}") from error
        self._reader = threading.Thread(target=self._read_lines, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: by the end of its stdin, or by force where it does not listen."""
        process = self._running
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended already
            process.stdin.close()
        try:
            process.wait(EXIT_TIMEOUT_S if kind is None else 0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(EXIT_TIMEOUT_S)
        assert self._stderr is not None
        self._stderr.close()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its reply.

        Raises:
            WorkerError: it says that it cannot, its process ended, or it did not reply in time.
        """
        pipe = self._running.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps({"do": do, **request}).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise self._ended() from None
        reply: dict[str, Any] = json.loads(self._line())
        if error := reply.get("error"):
            raise WorkerError(error["kind"], error["message"])
        return reply

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "enter the worker first"
        return self._process

    def _line(self) -> bytes:
        try:
            line = self._lines.get(timeout=self.deadline)
        except queue.Empty:
            self._running.kill()
            raise WorkerError("failed", f"did not reply for {self.deadline:.0f} s") from None
        if not line:
            raise self._ended()
        return line

    def _read_lines(self, pipe: IO[bytes]) -> None:
        """Pass the process's lines on, then an empty one: a pipe cannot be read with a time limit on every system."""
        with pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put(b"")

    def _ended(self) -> WorkerError:
        """Return how the process ended, with the last line of its stderr."""
        code = self._running.wait()
        how = f"with exit code {code}" if code >= 0 else f"by {signal_name(-code)}"
        assert self._stderr is not None
        self._stderr.seek(0)
        printed = last_line(self._stderr.read())
        return WorkerError("failed", f"its process ended {how}" + (f": {printed}" if printed else ""))
