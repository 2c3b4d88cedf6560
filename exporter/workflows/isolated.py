"""`run_isolated()`: a function in a process of its own, for services that take untrusted files.

The command line has a supervisor for this (`exporter.isolation`). A service calls the library's functions instead, and
a library that crashes on a file would take the service with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

import exporter.errors
from exporter.artifacts.store import clean_up
from exporter.errors import BadInputError, C3DExportError, UsageError
from exporter.isolation import worker
from exporter.isolation.board import SIZE, Board, State
from exporter.isolation.environment import drop_secrets, end_with_parent, forbid_core_dumps
from exporter.isolation.memory import end_tree
from exporter.isolation.meter import Meter
from exporter.isolation.outcomes import describe, how_it_ended
from exporter.isolation.supervisor import GRACE_SECONDS, POLL_SECONDS, Outcome

R = TypeVar("R")


def run_isolated(
    function: Callable[..., R],
    *arguments: Any,
    timeout: float | None = None,
    max_memory: int | None = None,
    **keywords: Any,
) -> R:
    """Call a function in a process of its own, and return what it returns.

    Where a library crashes on a file there, hangs or fills the memory, this process gets an error. The process starts
    a new interpreter, which imports what the function needs: about two seconds with torch. It inherits no variables
    that look like secrets, unless an argument names something remote (`https://…`), and writes no core dump. It may be
    called from several threads at a time, and from the main module under `if __name__ == "__main__":`.

    Args:
        function: a function of a module, such as `exporter.inspect`: it is pickled, and so are its arguments, its
            result and its error.
        *arguments: its arguments.
        timeout: seconds that all of it may take, the start of the process included; 0 for no limit; None for a limit of
            each call of a library, which grows with its file.
        max_memory: resident bytes that its processes may hold; None for nine tenths of what is available, and for each
            call of a library a limit that grows with its file and inputs.
        **keywords: its arguments by name.

    Raises:
        LimitError: it reached a limit of time or memory, or the system killed it.
        BadInputError: a library crashed on a file; the message names both.
        UsageError: the function or an argument cannot be pickled.
        Exception: what the function raises, an error of `exporter.errors` as that class.
    """
    context = multiprocessing.get_context("spawn")
    block = context.RawArray("B", SIZE)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sending, block, os.getpid(), function, arguments, keywords))
    with contextlib.closing(receiving):
        try:
            with contextlib.closing(sending):
                process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(f"run_isolated: cannot be given to another process: {error}") from error
        received: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_receive, args=(receiving, received), daemon=True)
        reader.start()
        try:
            outcome = _watch(process, Board(memoryview(block).cast("B")), received, timeout, max_memory)
            process.join(GRACE_SECONDS if outcome.reason == "ended" else 0)
        finally:
            if process.exitcode is None:
                end_tree(cast("int", process.pid))
            process.join()
            reader.join()
    clean_up(outcome.state.stages, outcome.state.new_folders)
    answer = None if received.empty() else received.get()
    if answer is not None:
        kind, value = answer
        if kind == "error":
            raise value
        return value
    error = describe(outcome)
    raise error or BadInputError(f"the process of run_isolated ended by itself ({how_it_ended(outcome)})")


def _watch(
    process: Any,
    board: Board,
    received: queue.SimpleQueue[tuple[str, Any] | None],
    timeout: float | None,
    max_memory: int | None,
) -> Outcome:
    """Wait until the process has answered or ended, or reached a limit."""
    meter, state = Meter(process.pid), State()
    while True:
        state = board.read() or state
        state.timeout, state.max_memory = timeout, max_memory
        if not received.empty():
            return Outcome("ended", 0, state)
        if process.exitcode is not None:
            code = process.exitcode
            if code >= 0:
                return Outcome("exited", code, state)
            return Outcome("killed" if -code == getattr(signal, "SIGKILL", 9) else "crashed", -code, state)
        if (excess := meter.check(state)) is not None:
            return Outcome(excess.reason, signal.SIGTERM, state, excess.limit, excess.call)
        multiprocessing.connection.wait([process.sentinel], POLL_SECONDS)


def _receive(receiving: Connection, received: queue.SimpleQueue[tuple[str, Any] | None]) -> None:
    """Read the answer in a thread: a process may stop in the middle of it."""
    with contextlib.suppress(EOFError, OSError):
        received.put(receiving.recv())


def _serve(
    sending: Connection,
    block: Any,
    parent: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> None:
    """Call the function in the new process, and send its result or its error."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's, which ends this process
    forbid_core_dumps()
    drop_secrets([*map(str, arguments), *map(str, keywords.values())])
    worker.attach(Board(memoryview(block).cast("B")))
    try:
        answer: tuple[str, Any] = "result", function(*arguments, **keywords)
        pickle.dumps(answer)
    except Exception as error:  # noqa: BLE001 - the caller decides
        answer = "error", _portable(error)
    sending.send(answer)
    sending.close()


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled: itself, or one of the nearest class of this project with its message."""
    if not isinstance(error, C3DExportError):
        error.add_note("in the process of run_isolated:\n" + "".join(traceback.format_exception(error)))
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what was pickled here
        return error
    known = next(
        (kind for kind in type(error).__mro__ if getattr(exporter.errors, kind.__name__, None) is kind), RuntimeError
    )
    return cast("type[Exception]", known)(str(error))
