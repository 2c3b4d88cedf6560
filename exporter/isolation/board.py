"""What a worker tells its supervisor: shared memory, so that it is there whatever becomes of the worker."""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

SIZE = 1 << 16
STEP_SIZE = 512
"""Bytes at the end of the board for the step of a call."""
MAX_TEXT = 1000
"""Characters of a path or a name on the board."""
_HEADER = struct.Struct("<II")
"""The length of the state and its checksum: what is being changed while it is read does not fit its checksum."""


@dataclass
class NativeCall:
    """A library at work on a file.

    Attributes:
        library: its name for people: `onnxruntime`.
        path: the file.
        deadline: `time.monotonic()` at which it is ended, the same clock in all processes; None for no limit.
        seconds: the limit from which the deadline follows, for the message.
        memory: bytes by which the worker may grow during the call; None for no limit of its own.
        number: it is the worker's n-th call.
        thread: the number of the thread that made it.
    """

    library: str
    path: str
    deadline: float | None = None
    seconds: float | None = None
    memory: int | None = None
    number: int = 0
    thread: int = 0


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
        finished: whether it has said all that there is to say: its exit code is the command's. Libraries end a process
            too, without an error, where they cannot allocate.
        new_folders: folders that it made for its output, an inner one before the one around it.
        step: what the last of `calls` is doing, such as the node of a graph; empty where it does not say.
    """

    calls: list[NativeCall] = field(default_factory=list)
    stages: list[tuple[str, str]] = field(default_factory=list)
    timeout: float | None = None
    max_memory: int | None = None
    as_json: bool = False
    finished: bool = False
    new_folders: list[str] = field(default_factory=list)
    step: str = ""

    def innermost(self) -> list[NativeCall]:
        """Return the call that each thread is in, the newest last."""
        return sorted({call.thread: call for call in self.calls}.values(), key=lambda call: call.number)


class Board:
    """A block of memory that a worker writes its state to, and its supervisor reads.

    Args:
        block: shared memory of `SIZE` bytes; None for new memory, shared with the processes forked from this one.
    """

    def __init__(self, block: mmap.mmap | memoryview | None = None) -> None:
        self._block: Any = mmap.mmap(-1, SIZE) if block is None else block

    def write(self, state: State) -> None:
        """Replace the state but for its step; what does not fit is left out."""
        encoded = _encode(state)
        if _HEADER.size + len(encoded) > SIZE - STEP_SIZE:
            encoded = _encode(replace(state, calls=state.calls[-1:], stages=[], new_folders=[]))
        self._block[_HEADER.size : _HEADER.size + len(encoded)] = encoded
        self._block[: _HEADER.size] = _HEADER.pack(len(encoded), zlib.crc32(encoded))

    def write_step(self, step: bytes) -> None:
        """Replace the step; cheap, because a graph has many."""
        self._block[SIZE - STEP_SIZE :] = step[:STEP_SIZE].ljust(STEP_SIZE, b"\0")

    def read(self) -> State | None:
        """Return the state; None before the first and in the middle of a change."""
        length, checksum = _HEADER.unpack(self._block[: _HEADER.size])
        encoded = bytes(self._block[_HEADER.size : _HEADER.size + min(length, SIZE)])
        if not encoded or zlib.crc32(encoded) != checksum:
            return None
        fields = json.loads(encoded)
        fields["calls"] = [NativeCall(**call) for call in fields["calls"]]
        fields["stages"] = [(stage, folder) for stage, folder in fields["stages"]]
        fields["step"] = bytes(self._block[SIZE - STEP_SIZE :]).rstrip(b"\0").decode("utf-8", "replace")
        return State(**fields)


def _encode(state: State) -> bytes:
    return json.dumps(vars(state) | {"calls": [vars(call) for call in state.calls]}).encode()
