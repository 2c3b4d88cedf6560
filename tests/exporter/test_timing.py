"""Interleaved rounds: every item once a round, in changing order, within a budget."""

import time

import pytest

from exporter import timing
from exporter.timing import RoundOptions, interleave, time_interleaved

ENDLESS = RoundOptions(min_rounds=30, max_rounds=30, cooldown_s=0)


def orders(items: str, options: RoundOptions) -> list[str]:
    found: dict[int, str] = {}
    for number, item in interleave(items, options):
        found[number] = found.get(number, "") + item
    return list(found.values())


def test_every_item_runs_once_a_round_in_changing_order() -> None:
    rounds = orders("abc", ENDLESS)
    assert len(rounds) == 30
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) == 6  # every order there is


def test_the_seed_decides_the_order() -> None:
    first, again, other = (
        orders("abc", RoundOptions(min_rounds=10, max_rounds=10, cooldown_s=0, seed=seed)) for seed in (3, 3, 4)
    )
    assert first == again != other


def test_an_item_that_is_removed_leaves_the_later_rounds() -> None:
    items, seen = ["a", "b"], list[str]()
    for number, item in interleave(items, RoundOptions(min_rounds=4, max_rounds=4, cooldown_s=0)):
        seen.append(item)
        if number == 1 and item == "a":
            items.remove("a")
    assert (seen.count("a"), seen.count("b")) == (2, 4)
    assert list(interleave([], ENDLESS)) == []


def test_threads_come_to_rest_before_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(timing, "sleep", done.append)
    for _, item in interleave("ab", RoundOptions(min_rounds=2, max_rounds=2, cooldown_s=0.25)):
        done.append(item)
    assert done[::2] == [0.25] * 4
    assert sorted(map(str, done[1::2])) == ["a", "a", "b", "b"]


@pytest.mark.parametrize(("budget", "rounds"), [(0.0, 3), (1e9, 8)])
def test_the_budget_ends_the_rounds_but_not_before_the_least(budget: float, rounds: int) -> None:
    options = RoundOptions(min_rounds=3, max_rounds=8, budget_s=budget, cooldown_s=0)
    assert len(orders("ab", options)) == rounds


def test_times_are_of_the_functions_without_warm_up() -> None:
    times = time_interleaved(
        {"slow": lambda: time.sleep(0.01), "fast": lambda: None},
        RoundOptions(min_rounds=3, max_rounds=3, warm_up=2, cooldown_s=0),
    )
    assert [len(seconds) for seconds in times.values()] == [3, 3]
    assert min(times["slow"]) >= 0.01 > max(times["fast"])


def test_a_hopeless_function_is_run_twice_and_the_others_in_every_round() -> None:
    now = 0.0
    runs: dict[str, int] = dict.fromkeys(("fast", "near", "slow"), 0)

    def run(name: str) -> None:
        nonlocal now
        runs[name] += 1
        now += {"fast": 1.0, "near": 1.2, "slow": 1.4}[name]

    options = RoundOptions(min_rounds=5, max_rounds=5, warm_up=1, hopeless=1.3, cooldown_s=0)
    times = time_interleaved({name: lambda name=name: run(name) for name in runs}, options, clock=lambda: now)
    assert len(times["slow"]) in (2, 3)  # in the second round it may come before the fastest
    assert (times["fast"], times["near"]) == (pytest.approx([1.0] * 5), pytest.approx([1.2] * 5))
    assert runs["fast"] == 6


@pytest.mark.parametrize("seed", range(4))  # orders in which the one or the other comes first
def test_one_slow_run_makes_no_function_hopeless(seed: int) -> None:
    now, left = 0.0, [9.0, 1.0, 1.0, 1.0]

    def run(seconds: float) -> None:
        nonlocal now
        now += seconds

    options = RoundOptions(min_rounds=4, max_rounds=4, warm_up=0, hopeless=1.3, cooldown_s=0, seed=seed)
    functions = {"even": lambda: run(1.0), "once slow": lambda: run(left.pop(0))}
    times = time_interleaved(functions, options, clock=lambda: now)
    assert times["once slow"] == pytest.approx([9, 1, 1, 1])
