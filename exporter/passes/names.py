"""Names that a graph does not have yet, and one that says what a value is."""

from collections.abc import Container

UNBIASED = ".unbiased"
"""In the name of a value that is a layer's output without its bias: it is no layer of the network."""


def unused_name(used: Container[str], wanted: str) -> str:
    """Return `wanted`, or `wanted.2`, `wanted.3`, … where that is used already."""
    number, name = 1, wanted
    while name in used:
        number += 1
        name = f"{wanted}.{number}"
    return name
