"""Constructors of Python's own plain values: containers, bytes, numbers.

Each takes the arguments that the pickle gives and returns the value, or None if such arguments are not what Python
writes; the call then becomes a placeholder. A subclass's dict entries and state come later, by SETITEMS and BUILD.
"""

from __future__ import annotations

from typing import cast

from models.checkpoints.pickles.keys import as_key
from models.checkpoints.pickles.limits import LARGE, Budget
from models.checkpoints.pickles.values import Global, LargeText, TupleItems, UnbuiltObject

LATIN1 = frozenset({"latin1", "latin-1", "iso-8859-1", "iso8859-1"})


def build_dict(arguments: list[object], budget: Budget) -> object:
    """`dict`, `OrderedDict`, `Counter`: from nothing, a dict, or a list of pairs."""
    match arguments:
        case []:
            return {}
        case [dict() as entries]:
            return cast("object", entries)
        case [list() as pairs]:
            budget.charge_opcodes(len(cast("list[object]", pairs)))
            result: dict[object, object] = {}
            for pair in cast("list[object]", pairs):
                if not isinstance(pair, list) or len(cast("list[object]", pair)) != 2:
                    return None
                key, value = cast("list[object]", pair)
                result[as_key(key, budget)] = value
            return result
        case _:
            return None


def build_defaultdict(arguments: list[object], budget: Budget) -> object:
    """`defaultdict`: its factory is left out."""
    return build_dict(arguments[1:], budget)


def build_list(arguments: list[object], budget: Budget) -> object:
    """`list`, `set`, `deque`: from nothing or from a list; a deque's length limit is left out."""
    match arguments:
        case []:
            return []
        case [list() as items, *_]:
            budget.charge_opcodes(len(cast("list[object]", items)))
            return list(cast("list[object]", items))
        case _:
            return None


def build_tuple(arguments: list[object], budget: Budget) -> object:
    """`tuple`, `frozenset`, `torch.Size`."""
    items = build_list(arguments, budget)
    return TupleItems(cast("list[object]", items)) if isinstance(items, list) else None


def build_range(arguments: list[object], budget: Budget) -> object:
    """`range`, `xrange`."""
    match arguments:
        case [int(start), int(stop), int(step)] if step:
            return range(start, stop, step)
        case _:
            return None


def build_slice(arguments: list[object], budget: Budget) -> object:
    """`slice` of integers."""
    match arguments:
        case [int() | None as start, int() | None as stop, int() | None as step]:
            return slice(start, stop, step)
        case _:
            return None


def build_complex(arguments: list[object], budget: Budget) -> object:
    """`complex`."""
    match arguments:
        case [float() | int() as real, float() | int() as imaginary]:
            return complex(real, imaginary)
        case _:
            return None


def build_bytes(arguments: list[object], budget: Budget) -> object:
    """`bytes`, `bytearray`: from nothing, bytes, or, as protocols 0 to 2 write a bytearray, a text and its encoding."""
    match arguments:
        case []:
            return b""
        case [bytes() | memoryview() as content]:
            return content
        case [str() | LargeText(), str()]:
            return encode(arguments, budget)
        case _:
            return None


def encode(arguments: list[object], budget: Budget) -> object:
    """`_codecs.encode`: bytes that protocols 0 to 2 write as a text in Latin-1."""
    match arguments:
        case [LargeText() as text, str(encoding)] if encoding in LATIN1:
            return text.to_latin1(budget)
        case [str(text), str(encoding)] if encoding in LATIN1:
            budget.charge_bytes(len(text))
            return text.encode("latin-1")
        case _:
            return None


def as_view(content: object, budget: Budget) -> memoryview | None:
    """Return bytes, or one of Python 2's strings, as a view; None if it is something else."""
    match content:
        case bytes() | memoryview():
            return memoryview(content)
        case LargeText():
            return content.to_latin1(budget)
        case str() if len(content) <= LARGE:
            budget.charge_bytes(len(content))
            return memoryview(content.encode("latin-1"))
        case _:
            return None


def reconstruct(arguments: list[object], budget: Budget) -> object:
    """`copyreg._reconstructor(class, base, state)`: how protocols 0 and 1 write an object of a Python class."""
    match arguments:
        case [Global() as cls, Global(module="builtins" | "__builtin__"), state]:
            return UnbuiltObject(cls.display_name, [] if state is None else [state])
        case _:
            return None


def get_attribute(arguments: list[object], budget: Budget) -> object:
    """`getattr(class, name)`: how some Python versions write a member of an enum. Nothing is looked up."""
    match arguments:
        case [Global() as cls, str(name)]:
            return UnbuiltObject(Global(cls.display_name, name[:LARGE]).display_name)
        case _:
            return None
