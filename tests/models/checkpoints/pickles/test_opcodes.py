"""Each opcode leaves what Python's own unpickler leaves, and one that is damaged is refused with its place."""

import pickle
import re
from typing import Any

import pytest

from models.checkpoints.contents import NotBuilt
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle

CLASS = b"cm\nC\n"


def read(data: bytes) -> Any:
    return read_pickle(memoryview(bytearray(data))).content


PLAIN = {
    "POP of a value": b"NI7\n0.",
    "POP of a mark": b"N(0.",
    "POP_MARK": b"N(NN1.",
    "DUP": b"(I7\n2l.",
    "PUT and GET": b"(I7\np0\ng0\nl.",
    "BINPUT and BINGET": b"(I7\nq\x05h\x05l.",
    "LONG_BINPUT and LONG_BINGET": b"(I7\nr\x05\x01\x00\x00j\x05\x01\x00\x00l.",
    "MEMOIZE": b"\x80\x04(I7\n\x94I8\n\x94h\x00h\x01l.",
    "FRAME of exactly what is left": b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.",
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_the_stack_and_the_memo_are_pythons(data: bytes) -> None:
    assert read(data) == pickle.loads(data)


CALLS = {
    "REDUCE": (CLASS + b"(I7\ntR.", [7]),
    "NEWOBJ": (CLASS + b"(I7\nt\x81.", [7]),
    "NEWOBJ_EX without keywords": (CLASS + b"(I7\nt}\x92.", [7]),
    "NEWOBJ_EX with keywords": (CLASS + b"(I7\nt}I1\nI2\ns\x92.", [7, {1: 2}]),
    "INST": (b"(I7\nim\nC\n.", [7]),
    "OBJ": (b"(" + CLASS + b"I7\no.", [7]),
    "a name from the stack": (b"\x80\x04\x8c\x01m\x8c\x01C\x93(I7\ntR.", [7]),
}


@pytest.mark.parametrize(("data", "arguments"), CALLS.values(), ids=CALLS)
def test_a_call_of_an_unknown_class_keeps_its_arguments(data: bytes, arguments: list[object]) -> None:
    called = read(data)
    assert isinstance(called, NotBuilt)
    assert called.name == "m.C"
    assert called.parts == arguments


REFUSED = {
    "no opcode": (b"N\x1b.", r"'\\x1b' is no opcode at byte 1 of"),
    "an empty stack": (b"N00.", "opcode POP makes no sense at byte 2 of"),
    "an unknown place of the memo": (b"h\x03.", "opcode BINGET makes no sense at byte 0 of"),
    "no end": (b"N", "it is truncated: it ends without"),
    "an empty file": (b"", "it is truncated: it ends without"),
    "nothing to return": (b".", r"it ends in the middle of a value \(at byte 0 of"),
    "a mark that is open": (b"N(N.", "it ends in the middle of a value"),
    "a later protocol": (bytes([0x80, pickle.HIGHEST_PROTOCOL + 1]) + b"N.", "its pickle protocol is 6"),
    "a frame of more than is left": (b"\x80\x04\x95\x03" + bytes(7) + b"N.", "truncated: a frame claims 3 bytes"),
    "a read-only buffer of nothing": (b"\x98.", "opcode READONLY_BUFFER makes no sense at byte 0 of"),
    "buffers outside the file": (b"\x97.", "outside the file: it was pickled with buffer_callback"),
    "numbers of classes": (b"\x82\x01.", "refers to a class by a number"),
    "arguments that are no tuple": (CLASS + b"NR.", "calls something with what is no tuple"),
    "a call of a number": (b"I7\n)R.", "it calls a int"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_no_writer_writes_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(PickleError) as refused:
        read(data)
    assert re.search(reason, str(refused.value))
