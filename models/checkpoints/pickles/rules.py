"""The table of constructors, and placeholders for everything that is not in it.

The table is the only way from a name in a file to code, and the code is this package's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from models.checkpoints.contents import NotBuilt
from models.checkpoints.dtypes import DTYPES
from models.checkpoints.pickles import arrays, joblib, plain
from models.checkpoints.pickles.arrays import ArrayDtype, ArrayValue
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.hazards import is_hazard
from models.checkpoints.pickles.limits import MAX_GLOBALS, Budget
from models.checkpoints.pickles.storages import (
    STORAGE_MODULES,
    STORAGES,
    Storage,
    TensorValue,
    as_sizes,
    make_tensor,
)
from models.checkpoints.pickles.values import Global, TupleItems, UnbuiltObject

Constructor = Callable[[list[object], Budget], object]
"""Returns a value; None if it is given other arguments than its writer's. The call then becomes a placeholder."""

LoadNested = Callable[[object], object]
"""Returns the content of a torch file that is a value of the pickle; None if it is none."""


def _tensor(arguments: list[object], budget: Budget) -> object:
    """`_rebuild_tensor(storage, offset, size, stride)`."""
    match arguments:
        case [storage, offset, size, stride]:
            return make_tensor(storage, offset, size, stride)
        case _:
            return None


def _tensor_v2(arguments: list[object], budget: Budget) -> object:
    """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)`."""
    match arguments:
        case [storage, offset, size, stride, _, _]:
            return make_tensor(storage, offset, size, stride)
        case [storage, offset, size, stride, _, _, metadata]:
            return _with_metadata(make_tensor(storage, offset, size, stride), metadata)
        case _:
            return None


def _tensor_v3(arguments: list[object], budget: Budget) -> object:
    """`_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)`."""
    match arguments:
        case [storage, offset, size, stride, _, _, Global(module="torch", name=name), *rest] if name in DTYPES:
            tensor = make_tensor(storage, offset, size, stride, DTYPES[name])
            return _with_metadata(tensor, rest[0]) if rest else tensor
        case _:
            return None


def _with_metadata(tensor: TensorValue | None, metadata: object) -> TensorValue | None:
    if tensor is not None and isinstance(metadata, dict):
        flags = cast("dict[object, object]", metadata)
        tensor.conjugate, tensor.negative = flags.get("conj") is True, flags.get("neg") is True
    return tensor


def _meta_tensor(arguments: list[object], budget: Budget) -> object:
    """`_rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad)`."""
    match arguments:
        case [Global(module="torch", name=name), size, stride, _] if name in DTYPES:
            return TensorValue(None, DTYPES[name], 0, as_sizes(size), as_sizes(stride))
        case _:
            return None


def _first(arguments: list[object], budget: Budget) -> object:
    """`_rebuild_parameter(data, …)` and others that give a tensor another class or device."""
    return arguments[0] if arguments and isinstance(arguments[0], (TensorValue, ArrayValue, NotBuilt)) else None


def _device(arguments: list[object], budget: Budget) -> object:
    """`torch.device(type, index)`, as a text."""
    match arguments:
        case [str(kind)]:
            return kind
        case [str(kind), int(index)]:
            return f"{kind}:{index}"
        case _:
            return None


def _layout(arguments: list[object], budget: Budget) -> object:
    """`_get_layout(name)`, as a text."""
    return arguments[0] if arguments and isinstance(arguments[0], str) else None


_BUILTINS: dict[str, Constructor] = {
    "bytes": plain.build_bytes,
    "bytearray": plain.build_bytes,
    "complex": plain.build_complex,
    "dict": plain.build_dict,
    "frozenset": plain.build_tuple,
    "list": plain.build_list,
    "range": plain.build_range,
    "set": plain.build_list,
    "slice": plain.build_slice,
    "tuple": plain.build_tuple,
    "xrange": plain.build_range,
}

CONSTRUCTORS: dict[tuple[str, str], Constructor] = {
    **{("builtins", name): constructor for name, constructor in _BUILTINS.items()},
    ("_codecs", "encode"): plain.encode,
    ("collections", "Counter"): plain.build_dict,
    ("collections", "OrderedDict"): plain.build_dict,
    ("collections", "defaultdict"): plain.build_defaultdict,
    ("collections", "deque"): plain.build_list,
    ("copyreg", "_reconstructor"): plain.reconstruct,
    **arrays.CONSTRUCTORS,
    **joblib.CONSTRUCTORS,
    ("torch", "Size"): plain.build_tuple,
    ("torch", "device"): _device,
    ("torch.serialization", "_get_layout"): _layout,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _meta_tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _first,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _first,
    ("torch._utils", "_rebuild_xla_tensor"): _first,
    ("torch.nn.parameter", "Parameter"): _first,
    ("torch.autograd.variable", "Variable"): _first,
}
"""{(module, name): what this package does for a call of it}. Modules have their present names, see `_MODULES`."""

_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "torch.tensor": "torch._tensor"}
"""{a module's earlier name: its present one}."""

NEW_OBJECT = Global("copyreg", "__newobj__")
"""Protocols 0 and 1 write the opcode NEWOBJ as a call of it."""

FROM_TYPE = ("_rebuild_from_type", "_rebuild_from_type_v2")
_OWN_TYPES = frozenset({"object", "int", "float", "str", "bool", "type", "unicode", "long", "basestring"})


class Rules:
    """What the pickles of one file get for their names and calls; nothing here calls what a file names.

    Attributes:
        not_built: names that were met and are not in the table.
        hazards: those of them that run code of the file's choice when another program unpickles the file.
    """

    def __init__(self, budget: Budget, load_nested: LoadNested) -> None:
        self.budget = budget
        self._load_nested = load_nested
        self._references: dict[tuple[str, str], Global] = {}
        self.not_built: set[str] = set()
        self.hazards: set[str] = set()

    def refer(self, module: str, name: str) -> Global:
        """Return the one reference to a class or function, and note what it is.

        Raises:
            PickleError: the file names too many.
        """
        key = (_MODULES.get(module, module), name)
        if key not in self._references:
            if len(self._references) == MAX_GLOBALS:
                raise PickleError(f"it names more than {MAX_GLOBALS} classes and functions")
            reference = self._references[key] = Global(*key)
            if is_hazard(*key):
                self.hazards.add(reference.display_name)
            if not _is_known(*key):
                self.not_built.add(reference.display_name)
        return self._references[key]

    def call(self, function: object, arguments: list[object]) -> object:
        """Return what stands for the result of a call.

        Raises:
            PickleError: what is called is no class or function, or a constructor of the table refuses its arguments.
        """
        if function == NEW_OBJECT and arguments:
            function, arguments = arguments[0], arguments[1:]
        if isinstance(function, NotBuilt):
            return UnbuiltObject(function.name, [function, *arguments])
        if not isinstance(function, Global):
            raise PickleError(f"it calls a {type(function).__name__}")
        result = self._construct(function, arguments)
        if result is None:
            self.not_built.add(function.display_name)
            return UnbuiltObject(function.display_name, list(arguments))
        return result

    def _construct(self, function: Global, arguments: list[object]) -> object:
        match function, arguments:
            case Global("torch._tensor", name), [Global() as inner, _, list() as rest, *_] if name in FROM_TYPE:
                return self._from_table(inner, cast("list[object]", rest))
            case Global("builtins", "tuple"), [[str(), ArrayValue() as array]]:
                return array  # Paddle's tensors: (tuple, ((name, array),)), in `reduce_varbase`
            case Global("builtins", "eval"), ["data", {"data": ArrayValue() as array}]:
                return array  # Paddle's LoDTensors: (eval, ("data", {"data": array})); nothing is evaluated
            case Global("torch.storage", "_load_from_bytes"), [content]:
                return self._load_nested(content)
            case Global("builtins", "getattr"), _:
                member = plain.get_attribute(arguments, self.budget)
                if member is None:
                    self.hazards.add(function.display_name)
                return member
            case _:
                return self._from_table(function, arguments)

    def _from_table(self, function: Global, arguments: list[object]) -> object:
        """Use the table; what depends on an object that was not built is not built either."""
        constructor = CONSTRUCTORS.get((function.module, function.name))
        if constructor is None:
            return None
        first = arguments[0] if arguments else None
        if isinstance(first, NotBuilt) and not isinstance(first, ArrayDtype) and constructor is not _first:
            return UnbuiltObject(first.name, list(arguments))
        return constructor(arguments, self.budget)

    def build(self, target: object, state: object) -> None:
        """Give an object its state.

        Raises:
            PickleError: the object cannot have a state, or not such a one.
        """
        if isinstance(target, (ArrayValue, ArrayDtype)):
            target.set_state(state)
        elif isinstance(target, UnbuiltObject):
            match state:
                case TupleItems() if len(state) == 2 and all(isinstance(part, (dict, type(None))) for part in state):
                    target.parts.extend(part for part in state if part)  # attributes, and those of __slots__
                case _:
                    target.parts.append(state)
        elif not isinstance(target, (dict, list, Storage, TensorValue)):  # attributes of a container or a parameter
            raise PickleError(f"it gives a state to a {type(target).__name__}")


def _is_known(module: str, name: str) -> bool:
    return (
        (module, name) in CONSTRUCTORS
        or (module == "builtins" and name in _OWN_TYPES | {"getattr"})
        or (module == "torch" and (name in DTYPES or name == "Tensor"))
        or (module in STORAGE_MODULES and name in STORAGES)
        or (module == "torch._tensor" and name in FROM_TYPE)
        or (module, name)
        in {(NEW_OBJECT.module, NEW_OBJECT.name), ("torch.storage", "_load_from_bytes"), ("numpy", "ndarray")}
    )
