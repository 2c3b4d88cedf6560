"""The opcodes that move and call; and the loop that runs a pickle.

No opcode recurses, and none calls, imports or looks up what the file names: GLOBAL pushes a name, and REDUCE, NEWOBJ,
INST and OBJ ask `Machine.rules`, whose table of constructors is this package's own.
"""

from __future__ import annotations

import pickle
import struct

from models.checkpoints.pickles.containers import CONTAINERS
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.joblib import InlineArray
from models.checkpoints.pickles.limits import OBJECT_COST
from models.checkpoints.pickles.literals import LITERALS, Handler
from models.checkpoints.pickles.machine import Machine
from models.checkpoints.pickles.values import TupleItems, decode, printable


def run(machine: Machine) -> object:
    """Interpret one pickle and return its value; `machine.position` is then after it.

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
        wrong = f"opcode {name} makes no sense" if name else f"'{printable(chr(data[start]))}' is no opcode"
        raise PickleError(f"{wrong} at byte {start} of the pickle") from error


# ---- the stack and the memo


def _mark(machine: Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _index(machine: Machine, size: int) -> int:
    """Return a number in the memo: of `size` bytes, or a line of digits for 0."""
    return machine.integer(size) if size else int(bytes(machine.line()[:20]))


def _get(size: int) -> Handler:
    def push(machine: Machine) -> None:
        machine.stack.append(machine.memo[_index(machine, size)])

    return push


def _put(size: int) -> Handler:
    def keep(machine: Machine) -> None:
        machine.memo[_index(machine, size)] = machine.stack[-1]

    return keep


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
    arguments = TupleItems(machine.pop_mark())
    _call(machine, function, arguments)


def _obj(machine: Machine) -> None:
    items = machine.pop_mark()
    _call(machine, items[0], TupleItems(items[1:]))


def _build(machine: Machine) -> None:
    machine.budget.charge_opcodes(OBJECT_COST)
    state = machine.stack.pop()
    target = machine.stack[-1]
    machine.rules.build(target, state)
    if isinstance(target, InlineArray):
        target.take_values(machine.take)


def _extension(machine: Machine) -> None:
    raise PickleError("it refers to a class by a number that only the program that wrote it can resolve")


def _next_buffer(machine: Machine) -> None:
    raise PickleError("its arrays are outside the file: it was pickled with buffer_callback")


_OPCODES: dict[str, Handler] = {
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": Machine.pop_mark,
    "DUP": lambda machine: machine.stack.append(machine.stack[-1]),
    "GET": _get(0),
    "BINGET": _get(1),
    "LONG_BINGET": _get(4),
    "PUT": _put(0),
    "BINPUT": _put(1),
    "LONG_BINPUT": _put(4),
    "MEMOIZE": _memoize,
    "PROTO": _proto,
    "FRAME": _frame,
    "STOP": _stop,
    "READONLY_BUFFER": _nothing,
    "NEXT_BUFFER": _next_buffer,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_ex,
    "INST": _inst,
    "OBJ": _obj,
    "BUILD": _build,
    "PERSID": lambda machine: machine.stack.append(machine.persistent(machine.text(machine.line(), "utf-8"))),
    "BINPERSID": lambda machine: machine.stack.append(machine.persistent(machine.stack.pop())),
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
}

_BY_NAME = {**LITERALS, **CONTAINERS, **_OPCODES}

_NAMES: dict[int, str] = {getattr(pickle, name)[0]: name for name in _BY_NAME}

_HANDLERS: dict[int, Handler] = {code: _BY_NAME[name] for code, name in _NAMES.items()}
