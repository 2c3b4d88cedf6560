"""A queue between two threads."""

from threading import Thread

from exporter.inference.bounded_queue import BoundedQueue


def in_thread(*items: tuple[str, int], queue: BoundedQueue[str]) -> tuple[Thread, list[bool]]:
    taken: list[bool] = []

    def put() -> None:
        taken.extend(queue.put(item, size) for item, size in items)

    thread = Thread(target=put, daemon=True)
    thread.start()
    return thread, taken


def test_items_come_in_order_and_the_writer_waits_for_room() -> None:
    queue: BoundedQueue[str] = BoundedQueue(10)
    thread, taken = in_thread(("a", 6), ("b", 4), ("c", 1), queue=queue)
    thread.join(0.05)
    assert thread.is_alive()  # c has no room
    assert taken == [True, True]
    assert [queue.get(), queue.get(), queue.get()] == ["a", "b", "c"]
    thread.join(5)
    assert not thread.is_alive()


def test_an_item_larger_than_the_queue_is_taken_alone() -> None:
    queue: BoundedQueue[str] = BoundedQueue(10)
    assert queue.put("large", 1000)
    thread, _ = in_thread(("next", 1), queue=queue)
    thread.join(0.05)
    assert thread.is_alive()
    assert [queue.get(), queue.get()] == ["large", "next"]


def test_closing_lets_a_waiting_writer_go() -> None:
    queue: BoundedQueue[str] = BoundedQueue(1)
    thread, taken = in_thread(("a", 1), ("b", 1), queue=queue)
    queue.close()
    thread.join(5)
    assert not thread.is_alive()
    assert taken[-1] is False
    assert queue.put("c") is False
