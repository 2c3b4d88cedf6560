"""What a worker tells its supervisor: shared memory, so that it is there whatever becomes of the worker."""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import asdict, dataclass, field

SIZE = 1 << 16
MAX_TEXT = 1000
"""Characters of a path or a name on the board."""
_LENGTH = struct.Struct("<Q")


@dataclass
class NativeCall:
    """A library at work on a file.

    Attributes:
        library: its name for people: `onnxruntime`.
        path: the file.
        deadline: `time.monotonic()` at which it is ended, the same clock in all processes; None for no limit.
        seconds: the limit from which the deadline follows, for the message.
    """

    library: str
    path: str
    deadline: float | None = None
    seconds: float | None = None


@dataclass
class State:
    """What a worker is doing.

    Attributes:
        calls: the libraries at work, the innermost last.
        stages: [staging folder, output folder] of what is not published yet.
        timeout: seconds that the whole command may take (`--timeout`); 0 for no limit; None where it was not given:
            each call then has a limit of its own.
        max_memory: bytes that its processes may hold (`--max-memory`); None where it was not given.
        as_json: whether errors are also printed as JSON.
    """

    calls: list[NativeCall] = field(default_factory=list)
    stages: list[tuple[str, str]] = field(default_factory=list)
    timeout: float | None = None
    max_memory: int | None = None
    as_json: bool = False


class Board:
    """A block of memory that a worker writes its state to, and its supervisor reads."""

    def __init__(self) -> None:
        self._block = mmap.mmap(-1, SIZE)  # shared with the processes forked from this one

    def write(self, state: State) -> None:
        """Replace the state; what does not fit is left out."""
        encoded = json.dumps(asdict(state)).encode()
        if _LENGTH.size + len(encoded) > SIZE:
            encoded = json.dumps(asdict(State(state.calls[-1:], [], state.timeout, state.max_memory))).encode()
        self._block[: _LENGTH.size] = _LENGTH.pack(0)
        self._block[_LENGTH.size : _LENGTH.size + len(encoded)] = encoded
        self._block[: _LENGTH.size] = _LENGTH.pack(len(encoded))

    def read(self) -> State | None:
        """Return the state; None before the first and in the middle of a change."""
        (length,) = _LENGTH.unpack(self._block[: _LENGTH.size])
        try:
            fields = json.loads(self._block[_LENGTH.size : _LENGTH.size + length])
        except ValueError:
            return None
        calls = [NativeCall(**call) for call in fields.pop("calls")]
        stages = [(stage, folder) for stage, folder in fields.pop("stages")]
        return State(calls, stages, **fields)
