"""Turns of the engine and of the decoders."""

import threading

import pytest

from exporter.inference import turns
from exporter.inference.turns import Turns, takes_turns
from exporter.types import Device


@pytest.mark.parametrize(
    ("device", "threads", "cores", "expected"),
    [
        ("cpu", None, 2, True),
        ("cpu", 2, 2, True),
        ("cpu", None, 1, True),
        ("cpu", 1, 2, False),  # a core is left for the decoder
        ("cpu", 2, 3, False),
        ("cpu", None, 4, False),
        ("cuda", None, 2, False),
    ],
)
def test_turns_are_taken_where_no_core_is_left(
    monkeypatch: pytest.MonkeyPatch, device: Device, threads: int | None, cores: int, expected: bool
) -> None:
    monkeypatch.setattr(turns, "available_cpus", lambda: cores)
    assert takes_turns(device, threads) is expected


def test_decoders_wait_while_the_engine_runs_and_go_on_where_it_fails() -> None:
    taken = Turns()
    taken.wait()
    passed = threading.Event()
    thread = threading.Thread(target=lambda: (taken.wait(), passed.set()))
    with pytest.raises(ZeroDivisionError), taken.engine:
        thread.start()
        assert not passed.wait(0.1)
        raise ZeroDivisionError
    assert passed.wait(5)
    thread.join()
