"""Optional values: the value itself, or None where it is absent."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.engines.reference.node import Node, UnsupportedError


def optional(node: Node, value: Any = None) -> Any:
    """Return the value, or an absent one."""
    del node
    return value


def has_element(node: Node, value: Any = None) -> Any:
    """Return whether the value is there."""
    del node
    return np.array(value is not None)


def get_element(node: Node, value: Any = None) -> Any:
    """Return the value.

    Raises:
        UnsupportedError: it is absent.
    """
    del node
    if value is None:
        raise UnsupportedError("the optional value is absent")
    return value
