"""This end of the pipe to a target's process (`exporter/bench/worker_main.py`)."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from exporter.bench import engines

WORKER = Path(__file__).with_name("worker_main.py")
RUN_FILE = "import sys; del sys.argv[0], sys.path[0]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
"""Runs a file without its folder in `sys.path`, where `types.py` and others would hide the standard library's."""
REPLY_TIMEOUT_S = 600.0
"""Seconds that a process may take to reply."""
EXIT_TIMEOUT_S = 10.0
CHUNK = 1 << 16

FailureKind = Literal["missing", "refused", "failed"]


def engine_file(name: str) -> Path:
    """Return the file of an engine."""
    return Path(engines.__file__).parent / f"{name}.py"


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

    def __init__(self, engine: Path, interpreter: Path, environment: dict[str, str], deadline: float = REPLY_TIMEOUT_S):
        self.engine, self.interpreter, self.environment, self.deadline = engine, interpreter, environment, deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Self:
        """Start the process.

        Raises:
            WorkerError: the interpreter cannot be started.
        """
        self._stderr = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter is the user's own choice
                [str(self.interpreter), "-c", RUN_FILE, str(WORKER), str(self.engine)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**child_environment(self.interpreter), **self.environment},
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError("missing", f"{self.interpreter} cannot be started: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: by the end of its stdin, or by force where it does not listen."""
        process = self._running
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        try:
            process.wait(EXIT_TIMEOUT_S if kind is None else 0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert self._stderr is not None
        self._stderr.close()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its reply.

        Raises:
            WorkerError: it says that it cannot, its process ended, or it did not answer in time.
        """
        pipe = self._running.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps({"do": do, **request}).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise self._ended() from None
        answer: dict[str, Any] = json.loads(self._line())
        if error := answer.get("error"):
            raise WorkerError(error["kind"], error["message"])
        return answer

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "enter the worker first"
        return self._process

    def _line(self) -> bytes:
        pipe = self._running.stdout
        assert pipe is not None
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(self.deadline):
                    self._running.kill()
                    raise WorkerError("failed", f"did not reply for {self.deadline:.0f} s")
                if not (read := os.read(pipe.fileno(), CHUNK)):
                    raise self._ended()
                self._unread += read
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _ended(self) -> WorkerError:
        """Say how the process ended, with the last line it complained."""
        code = self._running.wait()
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        assert self._stderr is not None
        self._stderr.seek(0)
        said = [line.strip() for line in self._stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return WorkerError("failed", f"its process ended {how}" + (f": {said[-1]}" if said else ""))
