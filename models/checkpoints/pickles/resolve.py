"""From what the interpreter built to a reader's content: each tensor a `FileTensor`, in place, without recursion."""

from __future__ import annotations

from collections import deque
from typing import cast

from models.checkpoints.contents import MAX_TENSORS, NotBuilt
from models.checkpoints.dtypes import DTYPES
from models.checkpoints.pickles.arrays import ArrayValue
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import MAX_DEPTH, Budget
from models.checkpoints.pickles.storages import Storage, TensorValue
from models.checkpoints.pickles.values import Global, LargeText, UnbuiltObject


def resolve(root: object, budget: Budget) -> object:
    """Return the content of a pickle, with a `FileTensor` for every tensor, storage and NumPy array.

    Lists, dicts and placeholders stay the same objects, so that what refers to itself still does.

    Raises:
        PickleError: an array or tensor is not what it claims, too many of them, nested too deep, or too large.
    """
    resolver = _Resolver(budget)
    result = resolver.leaf(root)
    waiting: deque[tuple[object, int]] = deque([(result, 0)])
    seen: set[int] = {id(result)}
    while waiting:
        container, depth = waiting.popleft()
        if depth > MAX_DEPTH:
            raise PickleError(f"it is nested more than {MAX_DEPTH} levels deep")
        for value in resolver.fill(container):
            if id(value) not in seen:
                seen.add(id(value))
                waiting.append((value, depth + 1))
    return result


class _Resolver:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._tensors = 0
        self._made: dict[TensorValue | ArrayValue, object] = {}
        """{tensor or array: what was made of it}, for those that are met again."""

    def fill(self, container: object) -> list[object]:
        """Resolve the leaves that a container holds; return the containers that it holds."""
        inner: list[object] = []
        if isinstance(container, dict):
            entries = cast("dict[object, object]", container)
            for key, value in entries.items():  # only values change
                if type(value) not in _PLAIN:
                    entries[key] = self._placed(value, inner)
        elif isinstance(container, (list, NotBuilt)):
            items = container.parts if isinstance(container, NotBuilt) else cast("list[object]", container)
            for index, value in enumerate(items):
                if type(value) not in _PLAIN:
                    items[index] = self._placed(value, inner)
        return inner

    def _placed(self, value: object, inner: list[object]) -> object:
        result = self.leaf(value)
        if isinstance(result, (dict, list, NotBuilt)):
            inner.append(cast("object", result))
        return result

    def leaf(self, value: object) -> object:
        """Return what stands in the content for a value."""
        match value:
            case TensorValue() | ArrayValue():
                self._count()
                if value not in self._made:
                    self._made[value] = value.resolve(self._budget)
                return self._made[value]
            case Storage():
                self._count()
                tensor = value.resolve(self._budget)
                return UnbuiltObject("torch.storage.UntypedStorage") if tensor is None else tensor
            case Global():
                dtype = DTYPES.get(value.name) if value.module == "torch" else None
                return dtype or UnbuiltObject(value.display_name)
            case LargeText():
                return value.decode(self._budget)
            case memoryview():
                self._budget.charge_bytes(value.nbytes)
                return bytes(value)
            case _:
                return value

    def _count(self) -> None:
        self._tensors += 1
        if self._tensors > MAX_REFERENCES:
            raise PickleError(f"it holds more than {MAX_REFERENCES} tensors")


MAX_REFERENCES = 10 * MAX_TENSORS
"""Tensors and arrays that are made, those of the optimizer and of logs included; a reader limits the weights."""

_PLAIN = frozenset({str, int, float, bool, type(None), bytes, complex})
