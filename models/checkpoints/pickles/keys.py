"""Dict keys: only what is hashed in bounded time.

A tuple's hash visits every item, so thirty tuples of ten references to the one before take 10**30 steps; 200,000 nested
ones exhaust the C stack. A pickled tuple becomes a tuple here only if it is small and flat enough.
"""

from collections.abc import Hashable

from models.checkpoints.contents import NotBuilt
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import MAX_KEY_DEPTH, MAX_KEY_ITEMS, Budget
from models.checkpoints.pickles.values import Global, TupleItems

_HASH_MODULUS = (1 << 61) - 1
"""`sys.hash_info.modulus`: integers below it are their own hash."""

_FREE = frozenset({str, bool, bytes, type(None)})
"""Types whose hashes a file cannot choose: Python adds a random seed to those of str and bytes."""


def as_key(value: object, budget: Budget) -> Hashable:
    """Return a pickled value as a dict key.

    Raises:
        PickleError: it cannot be one, or hashing it could take long.
    """
    if type(value) in _FREE or isinstance(value, (NotBuilt, Global)):  # those two are hashed by identity or name
        return value
    if type(value) is int:
        if not -_HASH_MODULUS < value < _HASH_MODULUS:
            budget.charge_key()
        return value
    if type(value) in (float, complex):
        budget.charge_key()
        return value
    if type(value) is TupleItems:
        budget.charge_key()
        return _as_tuple(value, [MAX_KEY_ITEMS], MAX_KEY_DEPTH)
    raise PickleError(f"a dict key is a {type(value).__name__}, which pickle cannot have written")


def _as_tuple(items: TupleItems, left: list[int], depth: int) -> tuple[Hashable, ...]:
    left[0] -= len(items)
    if left[0] < 0 or depth == 0:
        raise PickleError("a dict key is a large or deeply nested tuple, which would take too long to hash")
    return tuple([_as_item(item, left, depth) for item in items])


def _as_item(item: object, left: list[int], depth: int) -> Hashable:
    if type(item) is TupleItems:
        return _as_tuple(item, left, depth - 1)
    if type(item) in _FREE or type(item) in (int, float, complex) or isinstance(item, (NotBuilt, Global)):
        return item
    raise PickleError(f"a dict key holds a {type(item).__name__}, which pickle cannot have written")
