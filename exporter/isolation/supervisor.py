"""The supervisor's side: start a worker, watch it, end it at a limit, and say how it ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Literal, NoReturn

from exporter.isolation import streams, worker
from exporter.isolation.board import Board, State
from exporter.isolation.memory import available_memory, end_tree, held_memory

POLL_SECONDS = 0.1
QUIET_SECONDS = 0.3
"""The supervisor imports what it measures with only after this time: `--help` has ended before."""
GRACE_SECONDS = 0.5
"""What a worker has to end by itself after a signal, before it is killed."""
MEMORY_SHARE = 0.9
"""Part of the memory that is available at the start that the worker may take, without `--max-memory`."""
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP

Reason = Literal["ended", "signalled", "crashed", "killed", "timeout", "memory"]


@dataclass(frozen=True)
class Outcome:
    """How a worker ended.

    Attributes:
        reason: `ended` by itself, `signalled` (the tool was told to stop), `crashed` (by a signal of its own),
            `killed` (by SIGKILL, from elsewhere), or ended here at the limit of time or memory.
        code: its exit code, or the number of the signal.
        state: what it was doing.
        limit: the limit that it reached, in seconds or bytes.
        last_words: the last line that its libraries printed; empty without one.
    """

    reason: Reason
    code: int
    state: State
    limit: float = 0.0
    last_words: str = ""


def supervise(work: Callable[[], NoReturn], report: Callable[[Outcome], int], *, apart: bool = False) -> NoReturn:
    """Do the work in a child process and exit with its exit code, or with what `report` returns for another end.

    Where the system cannot fork, the work is done in this process, without limits.

    Args:
        work: ends by SystemExit. This process must have one thread only.
        report: says how the worker ended, where it could not itself; returns the exit code.
        apart: whether what libraries print is kept from stdout and stderr.
    """
    if not hasattr(os, "fork"):
        work()
    board, chatter = Board(), streams.Chatter()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with(parent)
        os.close(chatter.reading)
        if apart:
            streams.divert(chatter.writing)
        worker.attach(board)
        work()
    os.close(chatter.writing)
    outcome = _Watch(child, board, chatter).wait()
    code = outcome.code if outcome.reason == "ended" else report(outcome)
    os._exit(code)


class _Watch:
    """The supervisor's loop."""

    def __init__(self, child: int, board: Board, chatter: streams.Chatter) -> None:
        self.child, self.board, self.chatter = child, board, chatter
        self.state = State()
        self.start = time.monotonic()
        self.default_memory: int | None = None
        self.stopped_by: int | None = None
        reading, self.wakeup = os.pipe()
        self.reading = reading
        os.set_blocking(self.wakeup, False)
        signal.set_wakeup_fd(self.wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def wait(self) -> Outcome:
        """Return how the worker ended."""
        while True:
            ended, status = os.waitpid(self.child, os.WNOHANG)
            self.state = self.board.read() or self.state
            if ended:
                return self._ended(os.waitstatus_to_exitcode(status))
            quiet = time.monotonic() - self.start < QUIET_SECONDS
            if not quiet and (over := self._over_limit()) is not None:
                self._kill()
                return over
            self._sleep(QUIET_SECONDS if quiet else POLL_SECONDS)
            if self.stopped_by is not None:
                return self._stop(self.stopped_by)

    def _sleep(self, seconds: float) -> None:
        """Wait until a signal arrives, of an ended child or of somebody who stops the tool; read what is printed."""
        over = time.monotonic() + seconds
        waiting = [self.reading, self.chatter.reading]
        while (left := over - time.monotonic()) > 0:
            readable, _, _ = select.select(waiting, [], [], left)
            if self.chatter.reading in readable and not self.chatter.read():
                waiting.remove(self.chatter.reading)  # nobody can write to it any more
            if self.reading in readable:
                os.read(self.reading, 1 << 10)
                return

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.stopped_by = number

    def _stop(self, number: int) -> Outcome:
        """Tell the worker to stop, and kill it if it does not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, number)
        over = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < over:
            ended, status = os.waitpid(self.child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self.state = self.board.read() or self.state
                return Outcome("ended" if code >= 0 else "signalled", code if code >= 0 else number, self.state)
            self._sleep(POLL_SECONDS)
        self._kill()
        return Outcome("signalled", number, self.state)

    def _kill(self) -> None:
        self.state = self.board.read() or self.state
        end_tree(self.child)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.child, 0)

    def _ended(self, code: int) -> Outcome:
        if code >= 0:
            return Outcome("ended", code, self.state)
        number = -code
        if number == signal.SIGKILL:
            return Outcome("killed", number, self.state)
        reason = "signalled" if number in SIGNALS else "crashed"
        return Outcome(reason, number, self.state, last_words=self.chatter.last_words())

    def _over_limit(self) -> Outcome | None:
        now, state = time.monotonic(), self.state
        if state.timeout is not None:
            if 0 < state.timeout < now - self.start:
                return Outcome("timeout", signal.SIGKILL, state, state.timeout)
        elif state.calls and (deadline := state.calls[-1].deadline) is not None and deadline < now:
            return Outcome("timeout", signal.SIGKILL, state, state.calls[-1].seconds or 0.0)
        if self.default_memory is None:
            self.default_memory = int(MEMORY_SHARE * available_memory())
        limit = state.max_memory or self.default_memory
        if held_memory(self.child) > limit:
            return Outcome("memory", signal.SIGKILL, state, limit)
        return None


def _end_with(parent: int) -> None:
    """Have the system end this process when its supervisor is gone, where it can (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
