"""Objects of foreign classes are not built; what they hold stays reachable, and what is dangerous is named."""

import argparse
import copyreg
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import pathlib
import pickle
import types
import uuid
from collections import OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest
import torch
from helpers.hostile_pickles import Runs
from helpers.loaded import load_content, load_tensors

from models.checkpoints.contents import NotBuilt
from models.checkpoints.pickles.reader import PickleContent, read_pickle

PROTOCOLS = range(6)
HERE = __name__


def read(value: object, protocol: int) -> PickleContent:
    return read_pickle(memoryview(bytearray(pickle.dumps(value, protocol))))


class Mode(enum.Enum):
    TRAIN = 1


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass
class Settings:
    rate: float
    layers: list[int]


@dataclasses.dataclass(slots=True)
class Slotted:
    rate: float


class HistoryBuffer:
    """As mmengine's message hub holds them."""

    def __init__(self) -> None:
        self._log_history, self._count_history = np.arange(3.0), np.ones(3)
        self._statistics = OrderedDict(mean=1)


class Config(dict[str, Any]):
    pass


class Ordered(OrderedDict[str, Any]):
    pass


class Items(list[Any]):
    pass


class Queue(deque[Any]):
    pass


class Lazy(defaultdict[str, Any]):
    pass


class Pair(tuple[int, int]):
    pass


class Count(int):
    pass


class WithState:
    def __getstate__(self) -> tuple[str, list[int]]:
        return "state", [1]

    def __setstate__(self, state: object) -> None: ...


class WithArguments:
    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, int]]:
        return (1,), {"key": 2}

    def __new__(cls, first: int = 0, key: int = 0) -> "WithArguments":
        return super().__new__(cls)


def settings() -> argparse.Namespace:
    return argparse.Namespace(lr=0.1, tensor=np.ones(2))


OBJECTS: list[tuple[object, str]] = [
    (settings(), "argparse.Namespace"),
    (pathlib.PurePosixPath("/data/ucf101"), "pathlib.PurePosixPath"),
    (datetime.datetime(2020, 1, 2, 3), "datetime.datetime"),
    (datetime.timedelta(3), "datetime.timedelta"),
    (decimal.Decimal("0.1"), "decimal.Decimal"),
    (uuid.UUID(int=7), "uuid.UUID"),
    (functools.partial(print, 1, end=""), "functools.partial"),
    (types.SimpleNamespace(a=1), "types.SimpleNamespace"),
    (Mode.TRAIN, f"{HERE}.Mode"),
    (Settings(0.1, [1]), f"{HERE}.Settings"),
    (HistoryBuffer(), f"{HERE}.HistoryBuffer"),
    (Config(a=1), f"{HERE}.Config"),
    (Ordered(a=1), f"{HERE}.Ordered"),
    (Items([1]), f"{HERE}.Items"),
    (Queue([1]), f"{HERE}.Queue"),
    (Lazy(list, a=[1]), f"{HERE}.Lazy"),
    (Pair((1, 2)), f"{HERE}.Pair"),
    (Count(3), f"{HERE}.Count"),
    (WithState(), f"{HERE}.WithState"),
    (np.random.RandomState(1), "numpy.random._pickle.__randomstate_ctor"),
    (Settings, f"{HERE}.Settings"),
    (np.mean, "numpy.mean"),
    (KeyError("x"), "builtins.KeyError"),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("value", "name"), OBJECTS, ids=[name for _, name in OBJECTS])
def test_a_foreign_object_leaves_everything_else_as_it_is(value: object, name: str, protocol: int) -> None:
    weights = {"conv1.weight": np.ones((2, 3), np.float32)}
    result = read({"before": [1], "object": value, "again": value, "state_dict": weights, "after": (2,)}, protocol)
    content: Any = load_content(result.content)
    assert list(content) == ["before", "object", "again", "state_dict", "after"]
    assert content["before"] == [1]
    assert content["after"] == [2]
    assert content["state_dict"]["conv1.weight"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert isinstance(content["object"], NotBuilt)
    if content["object"].name != "builtins.getattr":
        assert content["object"].name.replace("exceptions", "builtins").startswith(name) or (
            name.endswith("ctor") and protocol < 2
        )
    assert type(content["object"]) is type(content["again"])
    assert not result.hazards or "SimpleNamespace" in name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols_from_2_on_with_slots_keywords_and_flags(protocol: int) -> None:
    result = read([Slotted(0.5), Flags.A | Flags.B, WithArguments()], protocol)
    slotted, _, keywords = load_content(result.content)  # pyright: ignore
    assert slotted.name == f"{HERE}.Slotted"
    assert 0.5 in [value for part in slotted.parts for value in (part.values() if isinstance(part, dict) else part)]
    assert "WithArguments" in keywords.name or "partial" in keywords.name
    assert not result.hazards


def settings_with(state: object) -> argparse.Namespace:
    return argparse.Namespace(state=state)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "wrap",
    [
        settings_with,
        Config,
        Ordered,
        lambda state: Lazy(list, state),
        lambda state: Items([state]),
        lambda state: Queue([state]),
        lambda state: functools.partial(print, state),
        lambda state: Settings(0.1, state),
        lambda state: Config(net=Config(state)),
    ],
)
def test_tensors_inside_a_foreign_object_are_found(wrap: Any, protocol: int) -> None:
    state = {"conv1.weight": np.ones(3, np.float32), "conv1.bias": np.zeros(1, np.float32)}
    tensors = load_tensors(read({"model": wrap(state)}, protocol).content)
    assert [name.split(".", 1)[1][-12:].lstrip(".") for name in tensors][-1].endswith("conv1.bias")
    assert [tensor.tolist() for tensor in tensors.values()] == [[1, 1, 1], [0]]


def test_a_history_buffer_between_weights_saved_by_torch() -> None:
    stream = io.BytesIO()
    torch.save(
        {"message_hub": {"log": HistoryBuffer()}, "w": torch.ones(2)}, stream, _use_new_zipfile_serialization=False
    )
    result = read_pickle(memoryview(bytearray(stream.getvalue())))
    found = load_tensors(result.content)
    assert found["w"].tolist() == [1, 1]
    assert found["message_hub.log._log_history"].tolist() == [0, 1, 2]
    assert result.not_built == (f"{HERE}.HistoryBuffer",)


def test_each_name_is_noted_once_and_sorted() -> None:
    result = read([Settings(1, []), Config(), Settings(2, []), Mode], 4)
    assert result.not_built == (f"{HERE}.Config", f"{HERE}.Mode", f"{HERE}.Settings")


def test_a_name_is_shown_without_control_characters() -> None:
    result = read_pickle(memoryview(b"cevil\x1b[2J" + b"x" * 500 + b"\r\nna\x07me\n)R."))
    assert len(result.not_built[0]) <= 101
    assert result.not_built[0].startswith(r"evil\x1b[2Jxx")


@pytest.mark.parametrize("protocol", [0, 1])
def test_new_object_as_a_call(protocol: int) -> None:
    data = pickle.dumps(Runs(copyreg.__newobj__, Settings), protocol)  # pyright: ignore
    assert read_pickle(memoryview(data)).content.name == f"{HERE}.Settings"  # pyright: ignore


def test_new_object_as_a_call_keeps_every_argument() -> None:
    data = b"ccopyreg\n__newobj__\n(ca\nB\nX\x01\0\0\0xX\x01\0\0\0ytR."
    made = load_content(read_pickle(memoryview(data)).content)
    assert isinstance(made, NotBuilt)
    assert (made.name, [part for part in made.parts if isinstance(part, str)]) == ("a.B", ["x", "y"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_names_that_are_understood_are_not_reported(protocol: int) -> None:
    known = OrderedDict(a=np.arange(3.0), b=np.float32(1), c=torch.ones(2), d=deque([1]), f=bytearray(b"x"))
    assert read(known, protocol).not_built == ()
    stream = io.BytesIO()
    torch.save({"w": torch.nn.Parameter(torch.ones(2))}, stream, _use_new_zipfile_serialization=False)
    assert read_pickle(memoryview(stream.getvalue())).not_built == ()


@pytest.mark.parametrize(
    "data",
    [
        b"ccopyreg\n__newobj__\n(" + b"ccopyreg\n__newobj__\n" * 20_000 + b"tR.",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(" * 20_000 + b"t" * 20_000 + b".",
        b"ctorch._tensor\n_rebuild_from_type_v2\n"
        + b"(ctorch._tensor\n_rebuild_from_type_v2\nN" * 5_000
        + b"t" * 5_000
        + b"R.",
    ],
)
def test_calls_inside_calls_do_not_recurse(data: bytes) -> None:
    from models.checkpoints.pickles.errors import PickleError

    try:
        assert read_pickle(memoryview(data)) is not None
    except PickleError as error:
        assert "levels deep" in str(error) or "makes no sense" in str(error) or "ends in the middle" in str(error)
