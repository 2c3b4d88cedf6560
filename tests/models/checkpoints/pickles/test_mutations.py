"""A pickle changed anywhere is read or refused: no other error, no tensor beyond its storage, nothing built by a claim."""

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from helpers.loaded import load_tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle, read_torch_zip

CONTENT: dict[Any, Any] = {
    "epoch": 3,
    "args": argparse.Namespace(lr=0.1, layers=[1, 2], size=(3, 4)),
    "state_dict": OrderedDict(a=torch.arange(6.0).reshape(2, 3).t(), b=torch.ones(2, dtype=torch.bfloat16)),
    "queue": deque([1, b"x", "ä", None, 2.5, True, 10**30], maxlen=9),
    "best": np.float32(0.5),
    "log": np.arange(3.0),
    ("a", 1): {1, 2},
}
ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.int64(3), "o": np.array([{}], dtype=object)}


def zipped(protocol: int) -> bytes:
    stream = io.BytesIO()
    torch.save(CONTENT, stream, pickle_protocol=protocol)
    with zipfile.ZipFile(stream) as archive:
        return archive.read("archive/data.pkl")


def legacy() -> bytes:
    stream = io.BytesIO()
    torch.save(CONTENT, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


ORIGINALS = {
    **{f"zip, protocol {protocol}": zipped(protocol) for protocol in (2, 4, 5)},
    "legacy": legacy(),
    **{f"arrays, protocol {protocol}": pickle.dumps(ARRAYS, protocol) for protocol in range(6)},
    "tensors without torch.save": pickle.dumps(CONTENT, 2),
}
OPCODES = sorted(
    value
    for name in dir(pickle)
    if name.isupper() and isinstance(value := getattr(pickle, name), bytes) and len(value) == 1
)
BOUNDARIES = [
    b"\xff",
    b"\x00",
    b"\x80",
    b"\xff" * 4,
    b"\x00" * 8,
    b"\xff\xff\xff\x7f",
    b"\x01\n",
    b"N)R",
    b"h\x00",
    b"00",
]

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat", "cut"]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from([*OPCODES, *BOUNDARIES]),
        st.floats(0, 1, exclude_max=True),
    ),
    min_size=1,
    max_size=5,
)


def mutate(data: bytes, changes: list[tuple[str, float, bytes, float]]) -> bytes:
    changed = bytearray(data)
    for kind, where, value, other in changes:
        at, source = int(where * len(changed)), int(other * len(changed))
        if kind == "set":
            changed[at : at + len(value)] = value
        elif kind == "insert":
            changed[at:at] = value
        elif kind == "delete":
            del changed[at : at + len(value)]
        elif kind == "repeat":
            changed[at:at] = changed[source : source + 40]
        elif other < 0.2:
            del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("name", ORIGINALS)
@given(changes=CHANGES)
@settings(max_examples=120)
def test_a_mutated_pickle_is_read_or_refused(name: str, changes: list[tuple[str, float, bytes, float]]) -> None:
    data = memoryview(bytearray(mutate(ORIGINALS[name], changes)))
    storages = {key: memoryview(bytearray(24)) for key in "0123"}
    try:
        if name.startswith("zip"):
            content = read_torch_zip(data, storages.get, 10_000, big_endian=False).content
        else:
            content = read_pickle(data).content
    except PickleError as error:
        assert len(str(error)) < 400
        return
    for tensor in load_tensors(content).values():
        if not tensor.is_meta and tensor.numel() < 10_000 and tensor.dtype != torch.bool:
            assert tensor.clone().shape == tensor.shape  # reads every value
