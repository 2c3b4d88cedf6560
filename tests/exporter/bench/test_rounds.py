"""Turns: never two at once, another order every round, and nobody's failure is another's."""

import random
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.bench import rounds
from exporter.bench.rounds import TargetState, run_rounds
from exporter.bench.targets import BenchTarget
from exporter.bench.worker_client import Worker, WorkerError


class Scripted(Worker):
    """A worker that notes when it is asked, and fails at a turn if it is told to."""

    def __init__(self, name: str, log: list[str], fails_at: int = 0) -> None:
        super().__init__(Path(name), Path(sys.executable), {})
        self.name, self.log, self.fails_at = name, log, fails_at

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        assert (do, request["least"]) == ("run", rounds.MIN_ROUND_S)
        self.log.append(self.name)
        if self.log.count(self.name) == self.fails_at:
            raise WorkerError("failed", "its process ended by SIGSEGV")
        return {"seconds": [float(len(self.log))], "peak": 100 + len(self.log)}


def states(log: list[str], fails_at: int = 0) -> list[TargetState]:
    return [
        TargetState(
            BenchTarget(name, name, "e", {}, Path("p")), Scripted(name, log, fails_at if name == "b" else 0), name, 100
        )
        for name in "abc"
    ]


def play_out(taking: list[TargetState], rounds: int, seconds: float = 1e9, seed: int = 0) -> list[str]:
    failed: list[str] = []

    def note(target: BenchTarget, error: WorkerError) -> None:
        failed.append(f"{target.name}: {error}")

    run_rounds(taking, rounds, seconds, random.Random(seed), note, lambda _number: None)
    return failed


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "COOLDOWN_S", 0.0)


def test_everyone_has_one_turn_a_round_in_changing_order() -> None:
    log: list[str] = []
    taking = states(log)
    assert play_out(taking, 30) == []
    rounds = ["".join(log[place : place + 3]) for place in range(0, 90, 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) == 6  # every order there is
    assert [len(state.turns) for state in taking] == [30, 30, 30]
    assert max(state.memory or 0 for state in taking) == 90


def test_the_seed_decides_the_order() -> None:
    logs: list[list[str]] = [[], [], []]
    for log, seed in zip(logs, (3, 3, 4), strict=True):
        play_out(states(log), 10, seed=seed)
    assert logs[0] == logs[1] != logs[2]


def test_time_ends_the_rounds_but_not_before_the_third() -> None:
    log: list[str] = []
    play_out(states(log), 20, seconds=0.0)
    assert len(log) == 3 * rounds.MIN_ROUNDS


def test_who_fails_leaves_and_the_others_go_on() -> None:
    log: list[str] = []
    taking = states(log, fails_at=3)
    assert play_out(taking, 8) == ["b: its process ended by SIGSEGV"]
    assert [(state.title, len(state.turns)) for state in taking] == [("a", 8), ("c", 8)]
    assert log.count("b") == 3
