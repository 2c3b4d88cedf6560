"""What a kernel is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from exporter.engines.reference.node import Node, NodeValues, UnsupportedError

Kernel = Callable[..., Any]
"""Takes the node and its inputs, None for an absent one; returns the output, or a tuple of the outputs.

It raises `UnsupportedError` for a form of the operator that it does not cover.
"""


class Body(Protocol):
    """A graph inside a node.

    Attributes:
        inputs: the names of its inputs.
        outputs: the names of its outputs.
    """

    inputs: list[str]
    outputs: list[str]

    def run(self, feeds: Mapping[str, Any], outer: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """Return {output: value} for {input: value}; `outer` has the values of the graphs around it."""
        ...


class ControlFlow(Protocol):
    """Computes a node that contains graphs."""

    def __call__(
        self, node: Node, bodies: Mapping[str, Body], inputs: NodeValues, scope: MutableMapping[str, Any], /
    ) -> Sequence[Any]:
        """Return the outputs; `scope` has every value that the graphs may read from around them."""
        ...


def to_tensor(array: Any) -> torch.Tensor:
    """Return a tensor that shares the memory of a floating-point array where torch can.

    Raises:
        UnsupportedError: the array is neither float32 nor float64.
    """
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
        raise UnsupportedError(f"only float32 and float64, not {getattr(array, 'dtype', type(array).__name__)}")
    # torch warns of arrays that it must not write to, and takes none with negative strides: those that NumPy calls
    # contiguous have them on an axis of one
    shared = (
        array.flags.writeable
        and array.flags.c_contiguous
        and array.flags.aligned
        and min(array.strides, default=0) >= 0
    )
    return torch.from_numpy(array if shared else array.copy())
