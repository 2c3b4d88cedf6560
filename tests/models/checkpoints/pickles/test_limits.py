"""What a file can cost is bounded, whatever it claims: time, memory, depth, the length of a message."""

import pickle
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.keys import as_key
from models.checkpoints.pickles.limits import HEADROOM, MAX_COSTLY_KEYS, MAX_DEPTH, MAX_OPCODES, Budget
from models.checkpoints.pickles.reader import read_pickle
from models.checkpoints.pickles.values import TupleItems

PRIME = (1 << 61) - 1
"""Integers that differ by it have the same hash."""


def aliased(levels: int) -> bytes:
    """A tuple of ten references to a tuple of ten references, and so on."""
    tuples = b"".join(b"(" + (b"h" + bytes([n])) * 10 + b"tq" + bytes([n + 1]) + b"0" for n in range(levels))
    return b"Nq\x000" + tuples + b"h" + bytes([levels])


HOSTILE: dict[str, tuple[bytes, str]] = {
    "aliased tuples as a key": (b"\x80\x02}" + aliased(30) + b"Ns.", "too long to hash"),
    "nested tuples as a key": (b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.", "too long to hash"),
    "nested frozensets as a key": (b"\x80\x04}" + b"(" * 100 + b"\x91" * 100 + b"Ns.", "too long to hash"),
    "nested lists": (b"]" * 100_000 + b"a" * 99_999 + b".", "levels deep"),
    "nested dicts": (b"}N" * 100_000 + b"}" + b"s" * 100_000 + b".", "levels deep"),
    "nested tuples": (b")" + b"\x85" * 200_000 + b".", "levels deep"),
    "nested objects": (b"cx\ny\nq\x00" + b"h\x00" * 50_000 + b")R" + b"\x85R" * 50_000 + b".", "levels deep"),
    "marks": (b"(" * 500_000 + b".", "ends in the middle"),
    "equal hashes": (pickle.dumps({n * PRIME: n for n in range(MAX_COSTLY_KEYS + 5)}, 2), "4096 dict keys"),
    "floats as keys": (pickle.dumps({n + 0.5: n for n in range(MAX_COSTLY_KEYS + 5)}, 2), "4096 dict keys"),
    "tuples as keys": (pickle.dumps({(n, n): n for n in range(MAX_COSTLY_KEYS + 5)}, 2), "4096 dict keys"),
    "a text decoded again and again": (b"\x80\x02c_codecs\nencode\nq\x00X\x80\x96\x98\x00" + b"a" * 10_000_000 + b"q\x01X\x06\x00\x00\x00latin1\x86q\x02]("
     + b"h\x00X\x40\x42\x0f\x00" + b"\xc3\xa4" * 500_000 + b"X\x06\x00\x00\x00latin1\x86R" * 1 + b"h\x01" * 10 + b"e.", "far more than its own size"),
    "a million digits": (b"L" + b"9" * 1_000_000 + b"L\n.", "digits"),
    "an integer of a megabyte": (b"\x8b\x40\x42\x0f\x00" + b"\x7f" * 1_000_000 + b".", "an integer of 1000000 bytes"),
    "a memo of many": (b"N" + b"".join(b"r" + n.to_bytes(4, "little") for n in range(100_000)) + b".", ""),
    "a memo index beyond memory": (b"Nr\xff\xff\xff\xff.", ""),
    "too many opcodes": (b"(" + b"N0" * (MAX_OPCODES // 2) + b"t.", "2000000 opcodes"),
    "too many containers": (b"](" + b"]" * MAX_OPCODES + b"e.", "2000000 opcodes"),
    "arguments copied again and again": (b"cx\ny\nq\x00(" + b"N" * 1000 + b"tq\x01](" + b"h\x00h\x01R" * 5000 + b"e.", "2000000 opcodes"),
    "a list copied again and again": (b"c__builtin__\nset\nq\x00](" + b"N" * 1000 + b"e\x85q\x01](" + b"h\x00h\x01R" * 5000 + b"e.", "2000000 opcodes"),
    "classes and functions": (b"](" + b"".join(b"cm\n%d\n" % n for n in range(10_001)) + b"e.", "10000 classes"),
    "a dict that is its own key": (b"}q\x00h\x00Ns.", "a dict key is a dict"),
    "a number of axes": (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n)S'b'\ntR(K\x01(" + b"K\x01" * 100 + b"tcnumpy\ndtype\n(S'f4'\ntRI0\nNtb.", "list of sizes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_or_read_within_two_seconds(name: str) -> None:
    data, reason = HOSTILE[name]
    started = time.process_time()
    refusal = ""
    try:
        read_pickle(memoryview(data))
    except PickleError as error:
        refusal = str(error)  # the error itself refers to the values: pytest must not show them
    assert re.search(reason, refusal) if reason else not refusal
    assert len(refusal) < 300
    assert time.process_time() - started < 5  # a slow machine


MEMORY = """
import pickle, resource, sys
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle
for data in pickle.load(sys.stdin.buffer):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_pickle(memoryview(data))
    except PickleError:
        pass
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before << 10
    assert used < 2 * len(data) + (512 << 20), used
"""


def test_memory_is_bounded_by_the_size_of_the_file() -> None:
    """In one other process, because its peak is what is measured."""
    files = [HOSTILE[name][0] for name in ("a text decoded again and again", "nested dicts", "too many containers")]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], input=pickle.dumps(files), capture_output=True, timeout=120, check=False
    )
    assert not done.returncode, done.stderr.decode()


def test_depth_that_pickle_itself_writes_is_read() -> None:
    value: Any = "end"
    for _ in range(200):
        value = {"a": [value]}
    assert read_pickle(memoryview(pickle.dumps(value, 4))).content == value
    assert sys.getrecursionlimit() <= MAX_DEPTH


@pytest.mark.parametrize("key", [TupleItems([1, TupleItems(["a", None])]), 5, -1, 2.5, "a", b"a", None, True, PRIME])
def test_keys_that_are_allowed(key: object) -> None:
    assert hash(as_key(key, Budget(0))) is not None


def test_a_small_key_may_repeat_items_but_not_grow() -> None:
    inner = TupleItems([1] * 8)
    as_key(TupleItems([inner] * 7), Budget(0))
    with pytest.raises(PickleError, match="large or deeply nested"):
        as_key(TupleItems([inner] * 8), Budget(0))


def test_a_key_may_have_64_items() -> None:
    as_key(TupleItems([1] * 64), Budget(0))
    with pytest.raises(PickleError, match="large or deeply nested"):
        as_key(TupleItems([1] * 65), Budget(0))


def test_a_file_may_have_4096_keys_whose_hash_it_chooses() -> None:
    budget = Budget(0)
    for number in range(4096):
        as_key(number + 0.5, budget)
    with pytest.raises(PickleError, match="4096 dict keys"):
        as_key(0.25, budget)


def test_the_budget_follows_the_size_of_the_file() -> None:
    budget = Budget(1000)
    budget.charge_bytes(1000 + HEADROOM)
    with pytest.raises(PickleError, match="far more than its own size"):
        budget.charge_bytes(1)
