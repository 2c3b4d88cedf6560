"""How a worker ended becomes one error, which names the library and the file in use."""

import signal

import pytest

from exporter.errors import BadInputError, LimitError, OutOfMemoryError
from exporter.isolation import outcomes
from exporter.isolation.board import NativeCall, State
from exporter.isolation.outcomes import describe
from exporter.isolation.supervisor import Outcome

CALL = NativeCall("libx", "m.x", number=1)
AT_WORK = State([CALL], step="node 'loop'")
IDLE = State()


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "address_space_limit", lambda: None)
    monkeypatch.setattr(outcomes, "cpu_limit", lambda: None)


BAD_FILES = {
    "a crash": (
        Outcome("crashed", signal.SIGSEGV, AT_WORK),
        "m.x: libx crashed on it at node 'loop' (SIGSEGV)",
    ),
    "a library that exits": (
        Outcome("exited", 7, State([CALL]), last_line="gave up"),
        "m.x: libx ended the process (exit code 7): gave up",
    ),
    "calls of two threads": (
        Outcome("crashed", signal.SIGFPE, State([CALL, NativeCall("liby", "m.y", number=2, thread=1)])),
        "m.x: libx or m.y: liby crashed on it (SIGFPE)",
    ),
    "a file that is not published yet": (
        Outcome("crashed", signal.SIGSEGV, State([NativeCall("libx", "/out/.stage/m.x")], [("/out/.stage", "/out")])),
        "/out/m.x: libx crashed on it (SIGSEGV)",
    ),
    "a mapped file that is cut off": (
        Outcome("crashed", signal.SIGBUS, IDLE),
        "a file was cut off while it was read (SIGBUS); wait until it is complete",
    ),
}


@pytest.mark.parametrize(("outcome", "text"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_crash_in_a_library_is_a_bad_file(outcome: Outcome, text: str) -> None:
    error = describe(outcome)
    assert type(error) is BadInputError
    assert str(error) == text


def test_a_crash_of_nothing_in_particular_is_a_bug() -> None:
    assert describe(Outcome("crashed", signal.SIGSEGV, IDLE)) is None
    assert describe(Outcome("exited", 1, IDLE)) is None


MEMORY = {
    "a library that says so": (Outcome("crashed", signal.SIGABRT, AT_WORK, last_line="std::bad_alloc"), "m.x", "bad_alloc"),
    "nobody says so, with a limit": (Outcome("exited", 1, IDLE), None, "exit code 1"),
}  # fmt: skip


@pytest.mark.parametrize(("outcome", "path", "reason"), MEMORY.values(), ids=MEMORY)
def test_memory_that_ran_out(outcome: Outcome, path: str | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path is None:
        monkeypatch.setattr(outcomes, "address_space_limit", lambda: 1 << 30)
    error = describe(outcome)
    assert isinstance(error, OutOfMemoryError)
    assert error.path == path
    assert reason in error.reason
    assert ("libx was at work at node 'loop'" in error.doing) is (path is not None)


def test_under_a_limit_of_the_address_space_a_crash_inside_a_call_is_still_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcomes, "address_space_limit", lambda: 1 << 30)
    assert type(describe(Outcome("crashed", signal.SIGSEGV, AT_WORK))) is BadInputError


LIMITS = {
    "--timeout": (
        Outcome("timeout", 0, State([CALL], timeout=5), 5.0),
        "m.x: libx was still at work after 5 s (--timeout)",
    ),
    "of a call": (
        Outcome("timeout", 0, State([CALL]), 300.0, CALL),
        "m.x: libx was still at work after 300 s (the default limit of one call)",
    ),
    "ulimit -t": (
        Outcome("timeout", signal.SIGXCPU, IDLE, 9.0),
        "the command was still at work after 9 s of processor time (ulimit -t)",
    ),
    "--max-memory": (
        Outcome("memory", 0, State(max_memory=10**9), 1e9),
        "the command took more than 1.0 GB of memory (--max-memory)",
    ),
    "most of the memory": (
        Outcome("memory", 0, IDLE, 2e9),
        "the command took more than 2.0 GB of memory (nine tenths of what was available)",
    ),
    "memory of a call": (
        Outcome("memory", 0, State([CALL]), 8e9, CALL),
        "m.x: libx took more than 8.0 GB of memory (the default limit of one call on a file and inputs of these sizes)",
    ),
    "killed by the system": (
        Outcome("killed", signal.SIGKILL, AT_WORK),
        "m.x: libx was killed at node 'loop', most likely because the system has no memory left",
    ),
}


@pytest.mark.parametrize(("outcome", "text"), LIMITS.values(), ids=LIMITS)
def test_a_limit_names_itself(outcome: Outcome, text: str) -> None:
    error = describe(outcome)
    assert isinstance(error, LimitError)
    assert str(error).startswith(text)
