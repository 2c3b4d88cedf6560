"""Rounds: a target that fails leaves, and the others go on."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from exporter.bench.rounds import RunConfig, TargetState, run_rounds, start
from exporter.bench.targets import BenchTarget
from exporter.bench.worker_client import Worker, WorkerError
from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.timing import RoundOptions


class Scripted(Worker):
    """A worker whose n-th reply takes n seconds, and which fails at a given one."""

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__(Path(sys.executable), {})
        self.calls, self.fails_at = 0, fails_at

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise WorkerError("failed", "its process ended by SIGSEGV")
        return {"seconds": [float(self.calls)], "peak": 100 + self.calls}


def state(name: str, fails_at: int = 0) -> TargetState:
    target = BenchTarget(name, name, find_engine("onnx"), Path(name), RuntimeOptions(), ("x",))
    return TargetState(target, Scripted(fails_at), base=100)


def test_a_target_that_fails_leaves_and_the_others_go_on() -> None:
    states, failed = [state("a"), state("b", fails_at=3), state("c")], list[str]()
    options = RoundOptions(min_rounds=8, max_rounds=8, cooldown_s=0)
    run_rounds(states, options, lambda target, error: failed.append(f"{target.name}: {error}"))
    assert failed == ["b: its process ended by SIGSEGV"]
    assert [found.target.name for found in states] == ["a", "c"]
    for found in states:
        assert found.rounds == [[float(number)] for number in range(1, 9)]
        assert found.memory == 8


def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    missing = replace(state("a").target, engine=replace(find_engine("openvino"), library="no_such_library"))
    config = RunConfig(cast("Any", None), threads=1, first_batch=1, seed=0, warmup=0)
    with ExitStack() as stack, pytest.raises(WorkerError, match=r"OpenVINO .*pip install '.*\[openvino\]'") as caught:
        start(stack, missing, config)
    assert caught.value.kind == "missing"
