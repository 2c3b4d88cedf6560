"""Opcodes that push what the pickle itself spells: numbers, texts, bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import LARGE, MAX_INTEGER_BYTES
from models.checkpoints.pickles.machine import Machine

Handler = Callable[[Machine], object]
"""What an opcode does; what it returns is not used."""

_MAX_DIGITS = 1000


def _digits(machine: Machine) -> bytes:
    line = bytes(machine.line())
    if len(line) > _MAX_DIGITS:
        raise PickleError(f"it holds a number of {len(line)} digits")
    return line


def _int(machine: Machine) -> None:
    line = _digits(machine)
    machine.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))


def _bin_long(size: int) -> Handler:
    def push(machine: Machine) -> None:
        length = machine.integer(size)
        if length > MAX_INTEGER_BYTES:
            raise PickleError(f"it holds an integer of {length} bytes")
        machine.stack.append(int.from_bytes(machine.take(length), "little", signed=True))

    return push


def _bin_text(size: int, encoding: str) -> Handler:
    def push(machine: Machine) -> None:
        machine.stack.append(machine.text(machine.take(machine.integer(size)), encoding))

    return push


def _string(machine: Machine) -> None:
    line = machine.line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in b"\"'":
        raise PickleError("a quoted text has no quotes")
    machine.stack.append(machine.text(line[1:-1], "string-escape"))


def _bytes(size: int) -> Handler:
    def push(machine: Machine) -> None:
        raw = machine.take(machine.integer(size))
        machine.stack.append(raw if len(raw) > LARGE else bytes(raw))

    return push


LITERALS: dict[str, Handler] = {
    "NONE": lambda machine: machine.stack.append(None),
    "NEWTRUE": lambda machine: machine.stack.append(True),
    "NEWFALSE": lambda machine: machine.stack.append(False),
    "INT": _int,
    "LONG": lambda machine: machine.stack.append(int(_digits(machine).removesuffix(b"L"))),
    "FLOAT": lambda machine: machine.stack.append(float(_digits(machine))),
    "BININT": lambda machine: machine.stack.append(int.from_bytes(machine.take(4), "little", signed=True)),
    "BININT1": lambda machine: machine.stack.append(machine.integer(1)),
    "BININT2": lambda machine: machine.stack.append(machine.integer(2)),
    "LONG1": _bin_long(1),
    "LONG4": _bin_long(4),
    "BINFLOAT": lambda machine: machine.stack.append(struct.unpack(">d", machine.take(8))[0]),
    "UNICODE": lambda machine: machine.stack.append(machine.text(machine.line(), "raw-unicode-escape")),
    "BINUNICODE": _bin_text(4, "utf-8"),
    "SHORT_BINUNICODE": _bin_text(1, "utf-8"),
    "BINUNICODE8": _bin_text(8, "utf-8"),
    "STRING": _string,
    "BINSTRING": _bin_text(4, "latin-1"),
    "SHORT_BINSTRING": _bin_text(1, "latin-1"),
    "BINBYTES": _bytes(4),
    "SHORT_BINBYTES": _bytes(1),
    "BINBYTES8": _bytes(8),
    "BYTEARRAY8": _bytes(8),
}
"""{name of an opcode, as in the module `pickle`: what it does}."""
