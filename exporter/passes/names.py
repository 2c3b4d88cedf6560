"""Names that a graph does not have yet, and one that says what a value is."""

import re
from collections.abc import Container

UNBIASED = ".unbiased"
"""Ends the name of a value that is a layer's output without its bias, after the operator; see `is_unbiased`."""
_UNBIASED = re.compile(rf"\.(conv|maxpool){re.escape(UNBIASED)}(\.\d+)?$")


def is_unbiased(name: str) -> bool:
    """Return whether a value is a layer's output without its bias, which is no layer of the network, by its name.

    A network may have a layer `unbiased` of its own.
    """
    return _UNBIASED.search(name) is not None


def unused_name(used: Container[str], wanted: str) -> str:
    """Return `wanted`, or `wanted.2`, `wanted.3`, … where that is used already."""
    number, name = 1, wanted
    while name in used:
        number += 1
        name = f"{wanted}.{number}"
    return name
