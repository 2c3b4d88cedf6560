"""The supervisor's side: start a worker, watch it, end it at a limit, and say how it ended."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Literal, NoReturn

from exporter.isolation import streams, worker
from exporter.isolation.board import Board, NativeCall, State
from exporter.isolation.environment import adopt_orphans, cpu_limit, drop_secrets, end_with_parent, forbid_core_dumps
from exporter.isolation.memory import descendants, end_tree, kill
from exporter.isolation.meter import Meter
from exporter.isolation.signals import CRASHES, SIGNALS, is_handled

POLL_SECONDS = 0.1
QUIET_SECONDS = 0.3
"""The supervisor measures nothing before this time: `--help` has ended before."""
GRACE_SECONDS = 0.5
"""What a worker has to end by itself after a signal, before it is killed; and what processes have that it leaves."""
ENDING_SECONDS = 3.0
"""What a worker has that said that it ends, before it is killed at a limit."""
Reason = Literal["ended", "exited", "signalled", "crashed", "killed", "timeout", "memory"]


@dataclass(frozen=True)
class Outcome:
    """How a worker ended.

    Attributes:
        reason: `ended` by itself, `exited` without having said so (a library ended it), `signalled` (the tool was told
            to stop), `crashed` (by a signal of its own), `killed` (by SIGKILL, from elsewhere), or ended here at the
            limit of `timeout` or `memory`, or by the system at its limit of processor time (`timeout` by SIGXCPU).
        code: its exit code, or the number of the signal.
        state: what it was doing.
        limit: the limit that it reached, in seconds or bytes.
        last_line: the last line that its libraries printed; empty without one.
        call: the call that reached its own limit; None where the command as a whole did.
    """

    reason: Reason
    code: int
    state: State
    limit: float = 0.0
    call: NativeCall | None = None
    last_line: str = ""


def can_supervise() -> bool:
    """Return whether commands run in a process of their own here: whether the system can fork."""
    return hasattr(os, "fork")


def supervise(
    work: Callable[[], NoReturn], report: Callable[[Outcome], int], *, separate_output: bool = False
) -> NoReturn:
    """Do the work in a child process and exit with its exit code, or with what `report` returns for another end.

    `report` is also called for a worker that ended by itself and left staged files.

    Where the system cannot fork, the work is done in this process, without limits.

    Args:
        work: ends by SystemExit. This process must have one thread only.
        report: removes what the worker staged and says how it ended, where it could not itself; returns the exit code.
        separate_output: whether what libraries print is kept from stdout and stderr.
    """
    if not can_supervise():
        work()
    board, chatter = Board(), streams.Chatter()
    parent = os.getpid()
    foreign = frozenset(descendants(parent))  # of a shell that became this process
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, the system keeps no exit codes of children
    child = os.fork()
    if child == 0:
        _prepare(parent)
        os.close(chatter.reading)
        if separate_output:
            streams.divert(chatter.writing)
        worker.attach(board)
        work()
    os.close(chatter.writing)
    outcome = _Watch(child, board, chatter, foreign).wait()
    # staged files that a worker has not removed at its own end: it had no memory left for that
    code = outcome.code if outcome.reason == "ended" and not outcome.state.stages else report(outcome)
    os._exit(code)


def _prepare(parent: int) -> None:
    """Make this process one that cannot outlive its supervisor, leave a core dump or show a secret."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command has its own handlers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    forbid_core_dumps()
    drop_secrets(sys.argv[1:])


class _Watch:
    """The supervisor's loop."""

    def __init__(self, child: int, board: Board, chatter: streams.Chatter, foreign: frozenset[int]) -> None:
        self.child, self.board, self.chatter, self.foreign = child, board, chatter, foreign
        self.state = State()
        self.start = time.monotonic()
        self.meter = Meter(child)
        self.stopped_by: int | None = None
        reading, self.wakeup = os.pipe()
        self.reading = reading
        self.selector = selectors.DefaultSelector()  # select() refuses descriptors above 1023, which a parent may leave
        for descriptor in (reading, chatter.reading):
            self.selector.register(descriptor, selectors.EVENT_READ)
        os.set_blocking(self.wakeup, False)
        signal.set_wakeup_fd(self.wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in SIGNALS:
            if is_handled(number):
                signal.signal(number, self._pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        adopt_orphans()

    def wait(self) -> Outcome:
        """Return how the worker ended; nothing that it started is left."""
        outcome = self._wait()
        self._end_leftovers(GRACE_SECONDS if outcome.reason == "ended" and self.stopped_by is None else 0.0)
        return outcome

    def _wait(self) -> Outcome:
        while True:
            if (status := self._reap()) is not None:
                return self._ended(status)
            if self.stopped_by is not None:
                return self._stop(self.stopped_by)
            self.state = self.board.read() or self.state
            quiet = time.monotonic() - self.start < QUIET_SECONDS
            if not quiet and (excess := self.meter.check(self.state)) is not None:
                if (status := self._await_end()) is not None:
                    return self._ended(status)
                self._kill()
                return Outcome(excess.reason, signal.SIGKILL, self.state, excess.limit, excess.call)
            self._sleep(QUIET_SECONDS if quiet else POLL_SECONDS)

    def _await_end(self) -> int | None:
        """Return the exit code of a worker that said, before it reached a limit, that it ends; None if it does not."""
        over = time.monotonic() + ENDING_SECONDS
        while self.state.finished and time.monotonic() < over:
            self._sleep(POLL_SECONDS)
            if (status := self._reap()) is not None:
                return status
        return None

    def _sleep(self, seconds: float) -> None:
        """Wait until a signal arrives, of an ended child or to stop the tool; read what is printed."""
        over = time.monotonic() + seconds
        while (left := over - time.monotonic()) > 0:
            readable = [key.fd for key, _ in self.selector.select(left)]
            if self.chatter.reading in readable and not self.chatter.read():
                self.selector.unregister(self.chatter.reading)  # all writers have closed it
            if self.reading in readable:
                os.read(self.reading, 1 << 10)
                return

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.stopped_by = number

    def _reap(self) -> int | None:
        """Return the worker's exit code, or minus its signal, if it has ended; others that ended are let go."""
        with contextlib.suppress(ChildProcessError):
            while True:
                ended, status = os.waitpid(-1, os.WNOHANG)
                if ended == self.child:
                    self.state = self.board.read() or self.state
                    return os.waitstatus_to_exitcode(status)
                if not ended:
                    break
        return None

    def _stop(self, number: int) -> Outcome:
        """Tell the worker to stop, and kill it if it does not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, number)
        over = time.monotonic() + GRACE_SECONDS
        while (now := time.monotonic()) < over:
            if (code := self._reap()) is not None:
                return Outcome("ended" if code >= 0 else "signalled", code if code >= 0 else number, self.state)
            self._sleep(min(POLL_SECONDS, over - now))
        self._kill()
        # it may have said that it ends, without coming to it
        if self.state.finished:
            return Outcome("ended", 128 + number, self.state)
        return Outcome("signalled", number, self.state)

    def _kill(self) -> None:
        self.state = self.board.read() or self.state
        end_tree(self.child)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.child, 0)

    def _end_leftovers(self, grace: float) -> None:
        """End the processes that the worker has left: this one has become their parent (Linux)."""
        over = time.monotonic() + grace
        while left := [pid for pid in descendants(os.getpid()) if pid not in self.foreign]:
            now = time.monotonic()
            if now >= over:
                for pid in left:
                    kill(pid)
            if now >= over + GRACE_SECONDS:  # the system cannot end it now: it waits for a device
                return
            self._reap()
            time.sleep(0.01)

    def _ended(self, code: int) -> Outcome:
        if code >= 0:
            reason = "ended" if self.state.finished else "exited"
            return Outcome(reason, code, self.state, last_line=self.chatter.last_line())
        number = -code
        if number == signal.SIGKILL:
            return Outcome("killed", number, self.state)
        if number == signal.SIGXCPU:
            return Outcome("timeout", number, self.state, cpu_limit() or 0)
        reason = "crashed" if number in CRASHES else "signalled"
        return Outcome(reason, number, self.state, last_line=self.chatter.last_line())
