"""joblib's dumps: a pickle in which an array's values follow the object that describes it, outside any opcode.

`NumpyArrayWrapper` has the array's shape, order and dtype; its values begin after the BUILD opcode of these,
after padding and the byte that counts it (since joblib 1.2). Source: `NumpyArrayWrapper.read_array` and
`NumpyUnpickler.load_build` in `joblib/numpy_pickle.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import cast

from models.checkpoints.pickles.arrays import ArrayDtype, ArrayValue
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.storages import as_sizes

_MODULES = ("joblib.numpy_pickle", "joblib.numpy_pickle_compat")
_PACKAGES = ("", "sklearn.externals.")

_REWRITE = "write it again where it was made: joblib.dump(joblib.load('old.pkl'), 'new.pkl')"


@dataclass(eq=False)
class InlineArray(ArrayValue):
    """An array whose values follow the opcode that gives it its state.

    Attributes:
        padded: whether a count of padding bytes precedes them.
    """

    padded: bool = False

    def set_state(self, state: object) -> None:
        """Take a wrapper's attributes.

        Raises:
            PickleError: they are others than joblib writes, or the array holds no plain numbers.
        """
        match state:
            case {"shape": shape, "order": "C" | "F" as order, "dtype": ArrayDtype() as dtype}:
                pass
            case _:
                raise PickleError("a joblib array has a state that joblib does not write")
        if dtype.torch is None:
            held = "Python objects" if dtype.code.startswith("O") else dtype.code
            raise PickleError(f"joblib stored an array of {held}, not of plain numbers")
        self.dtype, self.shape = dtype, as_sizes(shape)
        self.axes = tuple(reversed(range(len(self.shape)))) if order == "F" else None
        attributes = cast("dict[object, object]", state)
        self.padded = attributes.get("numpy_array_alignment_bytes") is not None

    def take_values(self, take: Callable[[int], memoryview]) -> None:
        """Take the values from where the pickle stands.

        Raises:
            PickleError: the file is truncated.
        """
        if self.dtype is None or self.dtype.torch is None:
            raise PickleError("a joblib array has no dtype")
        if self.padded:
            take(take(1)[0])
        self.content = take(min(prod(self.shape) * self.dtype.torch.itemsize, sys.maxsize))


def _build_wrapper(arguments: list[object], budget: Budget) -> object:
    """`NumpyArrayWrapper`, made without arguments; its state follows."""
    return None if arguments else InlineArray()


def _refuse_file(arguments: list[object], budget: Budget) -> object:
    """`NDArrayWrapper`, `ZNDArrayWrapper`: joblib before 0.10 wrote each array into a file of its own."""
    raise PickleError(f"its arrays are in files beside it, as joblib before 0.10 wrote them; {_REWRITE}")


CONSTRUCTORS = {
    (package + module, name): constructor
    for package in _PACKAGES
    for module in _MODULES
    for name, constructor in (
        ("NumpyArrayWrapper", _build_wrapper),
        ("NDArrayWrapper", _refuse_file),
        ("ZNDArrayWrapper", _refuse_file),
    )
}
"""{(module, name): constructor}; scikit-learn carried a copy of joblib until its version 0.22."""
