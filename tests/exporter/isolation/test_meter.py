"""When a worker has reached a limit."""

import mmap
import os
import time

import pytest

from exporter.isolation import meter as meter_module
from exporter.isolation.board import NativeCall, State
from exporter.isolation.meter import Excess, Meter


class Clock:
    """Replaces the clock and the memory of processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.memory, self.children = 100.0, {7: 1 << 30}, list[int]()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(meter_module, "resident_memory", lambda pid: self.memory.get(pid, 0))
        monkeypatch.setattr(meter_module, "descendants", lambda pid: self.children)
        monkeypatch.setattr(meter_module, "available_memory", lambda: 9 << 30)
        self.meter = Meter(7)

    def after(self, seconds: float, state: State) -> Excess | None:
        """Look at the worker each second."""
        for _ in range(round(seconds)):
            self.now += 1
            found = self.meter.check(state)
            if found is not None:
                return found
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_limit_of_the_command_counts_from_its_start(clock: Clock) -> None:
    assert clock.after(5, State(timeout=5)) is None
    assert clock.after(1, State(timeout=5)) == Excess("timeout", 5)
    assert clock.after(1, State(timeout=0)) is None


def test_the_outer_call_ends_the_inner_one_too(clock: Clock) -> None:
    outer, inner = NativeCall("a", "f", 103.0, 3.0), NativeCall("b", "f", 900.0, 800.0)
    assert clock.after(3, State([outer, inner])) is None
    assert clock.after(1, State([outer, inner])) == Excess("timeout", 3, outer)


def test_the_limit_of_the_command_replaces_those_of_calls(clock: Clock) -> None:
    assert clock.after(50, State([NativeCall("a", "f", 101.0, 1.0)], timeout=100)) is None


def test_time_in_which_the_tool_was_stopped_counts_for_nothing(clock: Clock) -> None:
    state = State([NativeCall("a", "f", 105.0, 5.0)], timeout=None)
    assert clock.after(2, state) is None
    clock.now += 3600  # Ctrl-Z, fg
    assert clock.after(3, state) is None
    assert clock.after(2, state) is not None


def test_all_processes_count_for_the_limit_of_the_command(clock: Clock) -> None:
    clock.children, clock.memory[8] = [8], 3 << 30
    assert clock.after(1, State(max_memory=4 << 30)) is None
    assert clock.after(1, State(max_memory=(4 << 30) - 1)) == Excess("memory", (4 << 30) - 1)


def test_without_a_limit_it_is_nine_tenths_of_what_was_available(clock: Clock) -> None:
    assert clock.after(1, State()) is None  # 1 GiB is held, 9 are left
    clock.memory[7] = 9 << 30
    assert clock.after(1, State()) is None
    clock.memory[7] += 1
    found = clock.after(1, State())
    assert found is not None
    assert found.limit == 9 << 30


def test_a_call_may_grow_by_what_its_file_and_inputs_account_for(clock: Clock) -> None:
    call = NativeCall("a", "f", memory=2 << 30, number=1)
    assert clock.after(1, State([call])) is None
    clock.memory[7] = 3 << 30
    assert clock.after(1, State([call])) is None
    clock.memory[7] += 1
    assert clock.after(1, State([call])) == Excess("memory", 2 << 30, call)
    assert clock.after(1, State([NativeCall("a", "f", memory=2 << 30, number=2)])) is None  # another, from here on


def test_this_process_is_measured() -> None:
    size = 50_000_000
    before = meter_module.resident_memory(os.getpid())
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:  # bytes may take freed memory
        pages.write(b"x" * size)
        assert meter_module.resident_memory(os.getpid()) - before > 40_000_000
