"""How long a transfer may take. A socket's own timeout does not limit it: a byte before each timeout keeps it alive."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from models.http.errors import DeadlineError, SlowError

CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of a transfer.

    Attributes:
        connect_s: seconds for a connection, TLS included.
        headers_s: seconds for a response's headers, interim responses (1xx) included.
        silence_s: seconds without a byte.
        rate: bytes of the file per second that must arrive on average over `window_s` seconds.
        base_s, bytes_per_s: the whole transfer, with every attempt, may take `base_s` seconds and one for each
            `bytes_per_s` of the announced size, or `unannounced_s` where none is announced.
        overhead: bytes that a response may hold before the file's first one, or between two parts of it.
        redirects: how many redirects are followed.
    """

    connect_s: float = 30.0
    headers_s: float = 60.0
    silence_s: float = 30.0
    rate: float = 1000.0
    window_s: float = 60.0
    base_s: float = 900.0
    bytes_per_s: float = 50_000.0
    unannounced_s: float = 3600.0
    overhead: int = 1 << 20
    redirects: int = 10

    def total_s(self, size: int | None) -> float:
        """Return the seconds for a file of `size` bytes; None where the size is unknown."""
        return self.unannounced_s if size is None else self.base_s + size / self.bytes_per_s


LIMITS = Limits()


class Meter:
    """Measures a transfer with all its attempts, and says how long the next read may take."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._started = time.monotonic()
        self._total = limits.total_s(None)
        self._phase: tuple[float, str] | None = None
        self._window, self._in_window = self._started, 0
        self._overhead = 0
        self._reason, self._error = "", SlowError

    def connecting(self) -> None:
        """Start to connect."""
        self._start(self.limits.connect_s, "no connection")

    def awaiting_headers(self) -> None:
        """Start to wait for a response's headers."""
        self._start(self.limits.headers_s, "no complete response headers")

    def _start(self, seconds: float, missing: str) -> None:
        self._phase = (time.monotonic() + seconds, f"{missing} within {seconds:g} s")
        self._overhead = 0

    def receiving(self, size: int | None) -> None:
        """Start to receive a file of this many bytes; None where the server does not announce it."""
        self._phase, self._overhead = None, 0
        self._window, self._in_window = time.monotonic(), 0
        self._total = self.limits.total_s(size)

    def allowance(self) -> float:
        """Return the seconds that the next read may take.

        Raises:
            SlowError: a limit was reached; its message names it. DeadlineError for the whole transfer's.
        """
        now = time.monotonic()
        deadline, self._reason, self._error = self._nearest(now)
        if deadline <= now:
            raise self.timed_out()
        return deadline - now

    def timed_out(self) -> SlowError:
        """Return the error of a read that took its whole allowance."""
        return self._error(self._reason)

    def _nearest(self, now: float) -> tuple[float, str, type[SlowError]]:
        """Return the limit that is reached first, if nothing arrives: when, what it is, and its error."""
        limits = self.limits
        found: list[tuple[float, str, type[SlowError]]] = [
            (now + limits.silence_s, f"nothing arrived for {limits.silence_s:g} s", SlowError),
            (self._started + self._total, f"not complete after {self._total:,.0f} s", DeadlineError),
        ]
        if self._phase is not None:
            found.append((*self._phase, SlowError))
        else:
            if now - self._window >= limits.window_s and self._in_window >= limits.rate * limits.window_s:
                self._window, self._in_window = now, 0
            if self._in_window < limits.rate * limits.window_s:
                slow = f"slower than {limits.rate / 1000:g} kB/s over {limits.window_s:g} s"
                found.append((self._window + limits.window_s, slow, SlowError))
        return min(found, key=lambda limit: limit[0])

    def received(self, count: int) -> None:
        """Count bytes of the connection.

        Raises:
            ConnectionError: too many of them that are not the file's.
        """
        self._overhead += count
        if self._overhead > self.limits.overhead:
            raise ConnectionError(f"the server sends more than {self.limits.overhead} bytes beside the file")

    def progressed(self, count: int) -> None:
        """Count bytes of the file."""
        self._in_window += count
        self._overhead = 0


def copy_body(
    read: Callable[[int], bytes], write: Callable[[bytes], object], meter: Meter, limit: int | None = None
) -> int:
    """Copy a body as it arrives, and return how many bytes it had.

    Args:
        read: returns at most as many bytes as it is asked for, none at the end.
        write: called with each part.
        meter: counts the bytes; its limits are those of the reader.
        limit: copying ends after the part that exceeds this many bytes.
    """
    count = 0
    while (limit is None or count <= limit) and (chunk := read(CHUNK)):
        write(chunk)
        count += len(chunk)
        meter.progressed(len(chunk))
    return count
