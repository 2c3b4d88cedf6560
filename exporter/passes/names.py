"""Names that a graph does not have yet."""

from collections.abc import Container


def unused_name(used: Container[str], wanted: str) -> str:
    """Return `wanted`, or `wanted.2`, `wanted.3`, … where that is used already."""
    number, name = 1, wanted
    while name in used:
        number += 1
        name = f"{wanted}.{number}"
    return name
