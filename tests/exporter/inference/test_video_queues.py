"""Queues between several threads and one that takes their items in order."""

from collections.abc import Callable
from threading import Condition, Thread, current_thread

import pytest

from exporter.inference.video_queues import VideoQueues


def start(work: Callable[[], object]) -> Thread:
    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(0.05)
    return thread


def put(queues: VideoQueues[str], number: int, *items: tuple[str, int]) -> tuple[Thread, list[bool]]:
    taken: list[bool] = []
    return start(lambda: taken.extend(queues.put(number, item, size) for item, size in items)), taken


def test_items_come_in_order_and_the_writer_waits_for_room() -> None:
    queues: VideoQueues[str] = VideoQueues(10, 1)
    thread, _ = put(queues, 0, ("a", 6), ("b", 4), ("c", 1))
    assert thread.is_alive()  # c has no room
    assert [queues.get(0), queues.get(0), queues.get(0)] == ["a", "b", "c"]
    thread.join(5)
    assert not thread.is_alive()


def test_what_was_taken_leaves_room_again() -> None:
    queues: VideoQueues[str] = VideoQueues(10, 1)
    for _ in range(3):
        assert queues.put(0, "whole", 10)
        assert queues.get(0) == "whole"
    thread, taken = put(queues, 0, ("a", 5), ("b", 5))
    assert not thread.is_alive()
    assert taken == [True, True]


def test_an_item_larger_than_the_queues_is_taken_where_its_video_has_none() -> None:
    queues: VideoQueues[str] = VideoQueues(10, 1)
    assert queues.put(0, "large", 1000)
    assert queues.put(1, "of the next video", 1000)
    thread, _ = put(queues, 0, ("next", 1))
    assert thread.is_alive()
    assert queues.get(0) == "large"
    thread.join(0.05)
    assert not thread.is_alive()  # its own queue is empty, although the other video fills the room
    assert [queues.get(0), queues.get(1)] == ["next", "of the next video"]


def test_a_later_video_leaves_room_for_the_one_whose_turn_it_is() -> None:
    queues: VideoQueues[str] = VideoQueues(2, 1)
    later, _ = put(queues, 1, ("d", 1), ("e", 1), ("f", 1))
    assert later.is_alive()
    first, _ = put(queues, 0, *((name, 1) for name in "abc"))
    assert [queues.get(0) for _ in "abc"] == ["a", "b", "c"]
    first.join(5)
    assert not first.is_alive()
    assert [queues.get(1) for _ in "def"] == ["d", "e", "f"]


def test_a_video_begins_when_its_turn_is_near() -> None:
    queues: VideoQueues[str] = VideoQueues(10, 1)
    begun: list[bool] = []
    thread = start(lambda: begun.extend(queues.begin(number) for number in range(4)))
    assert begun == [True, True]
    queues.put(0, "a")
    queues.put(1, "b")
    queues.get(0)
    queues.get(1)
    thread.join(0.05)
    assert begun == [True, True, True]
    queues.close()
    thread.join(5)
    assert begun == [True, True, True, False]


def test_closing_lets_a_waiting_writer_go() -> None:
    queues: VideoQueues[str] = VideoQueues(1, 1)
    thread, taken = put(queues, 0, ("a", 1), ("b", 1))
    queues.close()
    thread.join(5)
    assert not thread.is_alive()
    assert taken[-1] is False
    assert queues.put(0, "c") is False


def test_an_interrupt_does_not_keep_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between a condition's lock and the block behind `with` would leave it locked, and the decoders waiting."""

    enter, here = Condition.__enter__, current_thread()

    def be_interrupted(condition: Condition) -> bool:
        if current_thread() is not here:  # such as the one of a progress bar that another test has left
            return enter(condition)
        condition.acquire()
        raise KeyboardInterrupt

    queues: VideoQueues[str] = VideoQueues(100, 1)
    monkeypatch.setattr(Condition, "__enter__", be_interrupted)
    assert queues.begin(0)
    assert queues.put(0, "a")
    assert queues.get(0) == "a"
    queues.close()
