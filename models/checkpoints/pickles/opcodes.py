"""The opcodes that move, build and call; and the loop that runs a pickle.

No opcode recurses, and none calls, imports or looks up what the file names: GLOBAL pushes a name, and REDUCE, NEWOBJ,
INST and OBJ ask `Machine.rules`, whose table of constructors is this package's own.
"""

from __future__ import annotations

import pickle
import struct
from typing import cast

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.keys import as_key
from models.checkpoints.pickles.limits import OBJECT_COST
from models.checkpoints.pickles.literals import LITERALS, Handler
from models.checkpoints.pickles.machine import Machine
from models.checkpoints.pickles.values import Foreign, TupleItems, decode, printable


def run(machine: Machine) -> object:
    """Interpret one pickle and return its value; `machine.position` is then behind it.

    Raises:
        PickleError: damaged, truncated, beyond a limit, or of a kind that is never read.
    """
    handlers, data, budget = _HANDLERS, machine.data, machine.budget
    start = machine.position
    try:
        while not machine.done:
            budget.opcodes -= 1
            if budget.opcodes < 0:
                budget.charge_opcodes(0)
            start = machine.position
            opcode = data[start]
            machine.position = start + 1
            handlers[opcode](machine)
        return machine.stack[-1]
    except PickleError as error:
        raise PickleError(f"{error} (at byte {start} of the pickle)") from error
    except (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error) as error:
        if start >= len(data):
            raise PickleError("it is truncated: it ends without the opcode that ends a pickle") from error
        name = _NAMES.get(data[start])
        wrong = f"opcode {name} makes no sense" if name else f"{printable(chr(data[start]))!r} is no opcode"
        raise PickleError(f"{wrong} at byte {start} of the pickle") from error


# ---- the stack and the memo


def _mark(machine: Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop_mark(machine: Machine) -> list[object]:
    items = machine.stack
    machine.stack = machine.marks.pop()
    return items


def _drop_mark(machine: Machine) -> None:
    _pop_mark(machine)


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        _pop_mark(machine)


def _dup(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _get_line(machine: Machine) -> None:
    machine.stack.append(machine.memo[int(bytes(machine.line()[:20]))])


def _get(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.integer(1)])


def _long_get(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.integer(4)])


def _put_line(machine: Machine) -> None:
    machine.memo[int(bytes(machine.line()[:20]))] = machine.stack[-1]


def _put(machine: Machine) -> None:
    machine.memo[machine.integer(1)] = machine.stack[-1]


def _long_put(machine: Machine) -> None:
    machine.memo[machine.integer(4)] = machine.stack[-1]


def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _proto(machine: Machine) -> None:
    version = machine.integer(1)
    if version > pickle.HIGHEST_PROTOCOL:
        raise PickleError(f"its pickle protocol is {version}; the newest known is {pickle.HIGHEST_PROTOCOL}")


def _frame(machine: Machine) -> None:
    size = machine.integer(8)
    if size > len(machine.data) - machine.position:
        raise PickleError(f"it is truncated: a frame claims {size} bytes")


def _stop(machine: Machine) -> None:
    if machine.marks or not machine.stack:
        raise PickleError("it ends in the middle of a value")
    machine.done = True


def _nothing(machine: Machine) -> None:  # READONLY_BUFFER: every buffer is read only
    if not machine.stack:
        raise IndexError


# ---- containers


def _empty_list(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    machine.stack.append([])


def _empty_dict(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    machine.stack.append({})


def _empty_tuple(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    machine.stack.append(TupleItems())


def _tuple(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    items = _pop_mark(machine)  # it changes the stack
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
    items = _pop_mark(machine)
    machine.stack.append(items)


def _dict(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    items = _pop_mark(machine)
    machine.stack.append({})
    _set_items(machine, items)


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    _extend(machine, [value])


def _appends(machine: Machine) -> None:
    _extend(machine, _pop_mark(machine))


def _extend(machine: Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    if type(target) is list:
        cast("list[object]", target).extend(items)
    elif isinstance(target, Foreign):
        target.list_elements().extend(items)
    else:
        raise PickleError(f"it appends to a {type(target).__name__}")


def _set_item(machine: Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _set_items(machine, [key, value])


def _set_items_mark(machine: Machine) -> None:
    _set_items(machine, _pop_mark(machine))


def _set_items(machine: Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    if isinstance(target, Foreign):
        target = target.dict_entries()
    if type(target) is not dict or len(items) % 2:
        raise PickleError(f"it sets items of a {type(target).__name__}")
    entries, budget = cast("dict[object, object]", target), machine.budget
    for key, value in zip(items[::2], items[1::2], strict=True):
        entries[key if type(key) is str else as_key(key, budget)] = value


# ---- names and calls


def _global(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    module, name = decode(machine.line(), "utf-8"), decode(machine.line(), "utf-8")
    machine.refer(module, name)


def _stack_global(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    name = machine.stack.pop()
    module = machine.stack.pop()
    machine.refer(module, name)


def _call(machine: Machine, function: object, arguments: object) -> None:
    if type(arguments) is not TupleItems:
        raise PickleError("it calls something with what is no tuple")
    machine.budget.charge_opcodes(OBJECT_COST + len(arguments))  # the arguments are copied
    machine.stack.append(machine.rules.call(function, arguments))


def _reduce(machine: Machine) -> None:
    arguments = machine.stack.pop()
    _call(machine, machine.stack.pop(), arguments)


def _new_object_ex(machine: Machine) -> None:
    keywords = machine.stack.pop()
    arguments = machine.stack.pop()
    if type(arguments) is TupleItems and keywords != {}:
        arguments = TupleItems([*arguments, keywords])
    _call(machine, machine.stack.pop(), arguments)


def _inst(machine: Machine) -> None:
    _global(machine)
    function = machine.stack.pop()
    arguments = TupleItems(_pop_mark(machine))
    _call(machine, function, arguments)


def _obj(machine: Machine) -> None:
    items = _pop_mark(machine)
    _call(machine, items[0], TupleItems(items[1:]))


def _build(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    state = machine.stack.pop()
    machine.rules.build(machine.stack[-1], state)


def _persistent_line(machine: Machine) -> None:
    machine.stack.append(machine.persistent(machine.text(machine.line(), "utf-8")))


def _persistent(machine: Machine) -> None:
    machine.stack.append(machine.persistent(machine.stack.pop()))


def _extension(machine: Machine) -> None:
    raise PickleError("it refers to a class by a number that only the program that wrote it can resolve")


def _next_buffer(machine: Machine) -> None:
    raise PickleError("its arrays are outside the file: it was pickled with buffer_callback")


_OPCODES: dict[str, Handler] = {
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _drop_mark,
    "DUP": _dup,
    "GET": _get_line,
    "BINGET": _get,
    "LONG_BINGET": _long_get,
    "PUT": _put_line,
    "BINPUT": _put,
    "LONG_BINPUT": _long_put,
    "MEMOIZE": _memoize,
    "PROTO": _proto,
    "FRAME": _frame,
    "STOP": _stop,
    "READONLY_BUFFER": _nothing,
    "NEXT_BUFFER": _next_buffer,
    "EMPTY_LIST": _empty_list,
    "EMPTY_SET": _empty_list,  # a set is read as a list: its items need no hash
    "EMPTY_DICT": _empty_dict,
    "EMPTY_TUPLE": _empty_tuple,
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
    "SETITEMS": _set_items_mark,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_ex,
    "INST": _inst,
    "OBJ": _obj,
    "BUILD": _build,
    "PERSID": _persistent_line,
    "BINPERSID": _persistent,
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
}

_BY_NAME = {**LITERALS, **_OPCODES}

_NAMES: dict[int, str] = {getattr(pickle, name)[0]: name for name in _BY_NAME}

_HANDLERS: dict[int, Handler] = {code: _BY_NAME[name] for code, name in _NAMES.items()}
