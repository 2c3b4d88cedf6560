"""A transfer ends in bounded time, whatever a server does, and a slow but steady one is not ended."""

import pytest

from models.http import transfer
from models.http.errors import DeadlineError, SlowError
from models.http.transfer import Limits, Meter


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(transfer, "time", clock)
    return clock


def run(clock: Clock, meter: Meter, count: int, every_s: float, most_s: float = 1e6) -> float:
    """Receive `count` bytes at a time until a limit ends it; return after how long."""
    start = clock.now
    while clock.now - start < most_s:
        if (left := meter.allowance()) < every_s:
            clock.now += left
            raise meter.timed_out()
        clock.now += every_s
        meter.received(count)
        meter.progressed(count)
    return clock.now - start


@pytest.mark.parametrize(
    ("count", "every_s", "error", "reason", "after_s"),
    [
        (1, 29.0, SlowError, "slower than 1 kB/s over 60 s", 60),
        (59_999, 60.0, SlowError, "nothing arrived for 30 s", 30),
        (999, 1.0, SlowError, "slower than 1 kB/s", 60),
        (2000, 1.0, DeadlineError, "not complete after 2,900 s", 2900),
    ],
)
def test_what_ends_a_body(
    clock: Clock, count: int, every_s: float, error: type[TimeoutError], reason: str, after_s: float
) -> None:
    meter = Meter(Limits())
    meter.receiving(100_000_000)
    with pytest.raises(TimeoutError, match=reason) as caught:
        run(clock, meter, count, every_s)
    assert type(caught.value) is error
    assert clock.now - Clock.now == pytest.approx(after_s)


def test_a_slow_and_steady_transfer_goes_on(clock: Clock) -> None:
    meter = Meter(Limits())
    meter.receiving(1_000_000_000)
    assert run(clock, meter, 60_000, 1.0, most_s=10_000) == pytest.approx(10_000)


def test_a_rate_that_falls_later_is_noticed(clock: Clock) -> None:
    meter = Meter(Limits())
    meter.receiving(None)
    run(clock, meter, 60_000, 1.0, most_s=600)
    with pytest.raises(TimeoutError, match="slower than"):
        run(clock, meter, 1, 29.0)
    assert clock.now - Clock.now <= 600 + 2 * 60


def test_headers_and_connecting_have_their_own_limits(clock: Clock) -> None:
    meter = Meter(Limits())
    for start, reason, after_s in (
        (meter.connecting, "no connection within 30 s", 30),
        (meter.awaiting_headers, "no complete response headers within 60 s", 60),
    ):
        begun = clock.now
        start()
        with pytest.raises(TimeoutError, match=reason):
            run(clock, meter, 1, 29.0)
        assert clock.now - begun == pytest.approx(after_s)


def test_several_attempts_share_the_time_of_the_whole(clock: Clock) -> None:
    meter = Meter(Limits())
    meter.receiving(50_000)
    clock.now += 901
    meter.awaiting_headers()
    with pytest.raises(DeadlineError, match="not complete after 901 s"):
        meter.allowance()


def test_bytes_that_are_not_the_file_are_bounded(clock: Clock) -> None:
    meter = Meter(Limits(overhead=1000))
    meter.awaiting_headers()
    meter.received(1000)
    with pytest.raises(ConnectionError, match="more than 1000 bytes beside the file"):
        meter.received(1)
    meter.receiving(None)
    for _ in range(10):
        meter.received(900)
        meter.progressed(1)
