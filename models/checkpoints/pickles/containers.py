"""Opcodes that make lists, dicts, tuples and sets, and fill them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.keys import as_key
from models.checkpoints.pickles.limits import OBJECT_COST
from models.checkpoints.pickles.literals import Handler
from models.checkpoints.pickles.machine import Machine
from models.checkpoints.pickles.values import TupleItems, UnbuiltObject


def _empty(make: Callable[[], object]) -> Handler:
    def push(machine: Machine) -> None:
        machine.budget.charge_opcodes(OBJECT_COST)
        machine.stack.append(make())

    return push


def _tuple(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    items = machine.pop_mark()  # it changes the stack
    machine.stack.append(TupleItems(items))


def _short_tuple(size: int) -> Handler:
    def push(machine: Machine) -> None:
        machine.budget.charge_opcodes(OBJECT_COST)
        stack = machine.stack
        if len(stack) < size:
            raise IndexError
        stack[-size:] = [TupleItems(stack[-size:])]

    return push


def _list(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    items = machine.pop_mark()
    machine.stack.append(items)


def _dict(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    items = machine.pop_mark()
    machine.stack.append({})
    _set_items(machine, items)


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    _extend(machine, [value])


def _appends(machine: Machine) -> None:
    _extend(machine, machine.pop_mark())


def _extend(machine: Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    if type(target) is list:
        cast("list[object]", target).extend(items)
    elif isinstance(target, UnbuiltObject):
        target.list_elements().extend(items)
    else:
        raise PickleError(f"it appends to a {type(target).__name__}")


def _set_item(machine: Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _set_items(machine, [key, value])


def _set_items(machine: Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    if isinstance(target, UnbuiltObject):
        target = target.dict_entries()
    if type(target) is not dict or len(items) % 2:
        raise PickleError(f"it sets items of a {type(target).__name__}")
    entries, budget = cast("dict[object, object]", target), machine.budget
    for key, value in zip(items[::2], items[1::2], strict=True):
        entries[key if type(key) is str else as_key(key, budget)] = value


CONTAINERS: dict[str, Handler] = {
    "EMPTY_LIST": _empty(list),
    "EMPTY_SET": _empty(list),  # a set is read as a list: its items need no hash
    "EMPTY_DICT": _empty(dict),
    "EMPTY_TUPLE": _empty(TupleItems),
    "TUPLE": _tuple,
    "TUPLE1": _short_tuple(1),
    "TUPLE2": _short_tuple(2),
    "TUPLE3": _short_tuple(3),
    "FROZENSET": _tuple,
    "LIST": _list,
    "DICT": _dict,
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine: _set_items(machine, machine.pop_mark()),
}
"""{name of an opcode, as in the module `pickle`: what it does}."""
