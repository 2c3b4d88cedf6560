"""Python's own values are read as Python's unpickler reads them, in every protocol; tuples and sets become lists."""

import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import pytest

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import LARGE
from models.checkpoints.pickles.reader import read_pickle

PROTOCOLS = range(6)

LONG = "ä€😀\\\n\x00" * (LARGE // 6)


def read(value: object, protocol: int) -> Any:
    return read_pickle(memoryview(pickle.dumps(value, protocol))).content


SAME: list[object] = [
    None, True, False, 0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**63), 10**300, -(10**300),
    0.0, -0.5, 1e300, float("inf"), complex(1, -2), range(10), range(5, -5, -2), slice(1, None, 3),
    "", "text", "ä€😀", "line\nbreak \\ \\u0041 'quoted'", LONG, b"", b"bytes\x00\xff\n'\\", bytes(range(256)) * 1000,
    [], [1, [2, [3]]], {}, {"a": 1, 2: "b", None: 0.5, True: b"x", b"y": [1]}, {(1, "a"): 2, (0, 1): (3,) * 0 or []},
    {"conv1.weight": 1} | {str(n): n for n in range(3000)},
]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values(protocol: int) -> None:
    for value in SAME:
        found = read(value, protocol)
        assert found == value
        assert type(found) is type(value)


LIKE: list[tuple[object, object]] = [
    ((), []),
    ((1,), [1]),
    ((1, (2, 3), 4, 5), [1, [2, 3], 4, 5]),
    ({1}, [1]),
    (frozenset({"a"}), ["a"]),
    (set[int](), []),
    (bytearray(b"abc"), b"abc"),
    (OrderedDict(a=1, b=2), {"a": 1, "b": 2}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    (defaultdict(None, {1: 2}), {1: 2}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (deque([1, 2, 3]), [1, 2, 3]),
    (deque([1, 2, 3], maxlen=2), [2, 3]),
    ([OrderedDict(x=(1, 2))] * 2, [{"x": [1, 2]}] * 2),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_as_lists_and_dicts(protocol: int) -> None:
    for value, wanted in LIKE:
        assert read(value, protocol) == wanted, value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_refers_to_itself_or_occurs_twice_stays_one_object(protocol: int) -> None:
    cyclic: dict[str, object] = {"shared": [1]}
    cyclic.update(me=cyclic, list=[cyclic], pair=(cyclic, cyclic["shared"]))
    found = read(cyclic, protocol)
    assert found["me"] is found
    assert found["list"][0] is found
    assert found["pair"][0] is found
    assert found["pair"][1] is found["shared"]


def test_python_2_strings_and_integers() -> None:
    """As Python 2's cPickle writes `{'name': 1L, 'raw': '\\xff'}`, a unicode text and `xrange(3)`."""
    binary = b"\x80\x02}(U\x04name\x8a\x01\x01T\x01\x00\x00\x00\xffU\x03rawX\x02\x00\x00\x00\xc3\xa4K\x01u."
    assert read_pickle(memoryview(binary)).content == {"name": 1, "ÿ": "raw", "ä": 1}
    text = b"(dp0\nS'na\\nme'\np1\nL12L\nsS\"it's\"\nI01\nsVu\\u00e4\nF2.5\ns."
    assert read_pickle(memoryview(text)).content == {"na\nme": 12, "it's": True, "uä": 2.5}
    assert read_pickle(memoryview(b"c__builtin__\nxrange\n(I0\nI3\nI1\ntR.")).content == range(3)
    assert read_pickle(memoryview(b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI1\naatR.")).content == {"a": 1}


def test_text_has_no_surrogates() -> None:
    """Lone surrogates cannot be printed or written anywhere."""
    for protocol in PROTOCOLS:
        assert read({"\ud800": "\udfff"}, protocol) == {"\\ud800": "\\udfff"}


def test_a_set_needs_no_hash() -> None:
    aliased = b"\x80\x04\x8f(" + b"N" + b"\x94" + b"(" + b"h\x00" * 10 + b"t" + b"\x90."
    assert read_pickle(memoryview(aliased)).content == [None, [None] * 10]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"]", "truncated"),
        (b".", "ends in the middle of a value"),
        (b"(.", "ends in the middle of a value"),
        (b"\xff", r"'ÿ' is no opcode at byte 0"),
        (b"Weights of C3D", "'W' is no opcode at byte 0"),
        (b"\x80\x06N.", "its pickle protocol is 6"),
        (b"h\x05.", "opcode BINGET makes no sense at byte 0"),
        (b"t.", "opcode TUPLE makes no sense"),
        (b"\x86.", "opcode TUPLE2 makes no sense"),
        (b"Ix\n.", "opcode INT makes no sense"),
        (b"I1", "truncated in a line of text"),
        (b"S'a\n.", "a quoted text has no quotes"),
        (b"X\x05\x00\x00\x00ab.", "claims 5 bytes where 3 are left"),
        (b"X\x01\x00\x00\x00\xff.", "a text is not UTF-8"),
        (b"\x8e" + b"\xff" * 8 + b".", "claims 18446744073709551615 bytes where 1 are left"),
        (b"\x95" + b"\xff" * 8 + b"N.", "a frame claims 18446744073709551615 bytes"),
        (b"}Ns.", "opcode SETITEM makes no sense|sets items"),
        (b"](NNu.", "sets items of a list"),
        (b"}Na.", "appends to a dict"),
        (b"}]Ns.", "a dict key is a list"),
        (b"}}Ns.", "a dict key is a dict"),
        (b"NNb.", "it gives a state to a NoneType"),
        (b"N)R.", "it calls a NoneType"),
        (b"cos\nsystem\nNR.", "it calls something with what is no tuple"),
        (b"NN\x93.", "whose name is no text, or too long"),
        (b"Px\n.", "refers to values outside the file by a persistent id"),
        (b"NQ.", "refers to values outside the file by a persistent id"),
        (b"\x82\x01.", "a number that only the program that wrote it can resolve"),
        (b"\x97.", "its arrays are outside the file"),
    ],
)
def test_a_damaged_pickle_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(PickleError, match=reason):
        read_pickle(memoryview(data))
