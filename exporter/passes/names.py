"""Names that a graph does not have yet, and one that says what a value is."""

import re

UNBIASED = ".unbiased"
"""Ends the name of a value that is a layer's output without its bias, after the operator; see `is_unbiased`."""
_UNBIASED = re.compile(rf"\.(conv|maxpool){re.escape(UNBIASED)}(\.\d+)?$")


def is_unbiased(name: str) -> bool:
    """Return whether a value is a layer's output without its bias, which is no layer of the network, by its name.

    A network may have a layer `unbiased` of its own.
    """
    return _UNBIASED.search(name) is not None


class UsedNames(set[str]):
    """The names that a graph has; new ones are added to them."""

    def find_new(self, wanted: str) -> str:
        """Return `wanted`, or `wanted.2`, `wanted.3`, … where that is used already."""
        number, name = 1, wanted
        while name in self:
            number += 1
            name = f"{wanted}.{number}"
        return name

    def new(self, wanted: str) -> str:
        """Return what `find_new` returns, and add it."""
        name = self.find_new(wanted)
        self.add(name)
        return name
