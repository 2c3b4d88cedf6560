"""Numbers moved to a neighbour at random: every value of a graph, as an engine may round it.

The result of an operator depends on the order of its sums, on vector instructions, even on the address of a number. In
the worst case each engine returns one of the two neighbours of what another returns (Monte Carlo arithmetic: Parker,
*Monte Carlo Arithmetic*, UCLA CSD-970002, 1997).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.engines.reference.node import Node, NodeValues

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT = frozenset(
    {
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice", "Split"),
        *("Concat", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter", "Pad"),
        *("DepthToSpace", "SpaceToDepth", "ReverseSequence", "Compress", "Trilu", "Unique", "TopK", "Where", "OneHot"),
        *("Constant", "ConstantOfShape", "EyeLike", "Range", "Cast", "CastLike", "BitCast", "Dropout", "Hardmax"),
        *("Relu", "Clip", "Max", "Min", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "ThresholdedRelu"),
        *("MaxPool", "GlobalMaxPool", "MaxUnpool", "ReduceMax", "ReduceMin", "QuantizeLinear"),
        *("If", "Loop", "Scan", "SequenceAt", "SplitToSequence", "SequenceConstruct", "ConcatFromSequence"),
    }
)
"""Operators that return numbers of their inputs, whole numbers or constants: every engine returns the same."""
CENTRING = frozenset(
    {
        *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "GroupNorm", "SkipLayerNormalization"),
        "MeanVarianceNormalization",
    }
)
"""Operators that subtract a mean: what its rounding does shows where the numbers that it is taken of are moved."""


@dataclass(frozen=True)
class Moves:
    """How the values of a graph are moved; the same numbers go the same way in float32 and in float64.

    Attributes:
        seed: decides the directions.
        part: how far they are moved, in rounding steps of float32.
    """

    seed: int
    part: float

    def outputs(self, node: Node, values: Sequence[Any]) -> list[Any]:
        """Return what a node has computed, moved unless it is exact."""
        if node.proto.op_type in EXACT:
            return [*values]
        return [self._move(f"{node.proto.output[0]} {number}", value) for number, value in enumerate(values)]

    def inputs(self, node: Node, values: NodeValues) -> NodeValues:
        """Return what a node is computed from; the numbers that it centres are moved."""
        if node.proto.op_type not in CENTRING:
            return values
        return [self._move(f"{node.proto.output[0]} centred", values[0]), *values[1:]]

    def _move(self, name: str, value: Any) -> Any:
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            return value
        rng = np.random.default_rng((self.seed, zlib.crc32(name.encode())))
        return move_numbers(value, rng, self.part, value.dtype)


def move_numbers(values: NDArray[Any], rng: np.random.Generator, part: float, dtype: Any) -> NDArray[Any]:
    """Return numbers moved by a multiple of the distance to float32's neighbour, up or down at random.

    Whole numbers may be indices or levels: they are not moved below themselves, where `Floor` and `Cast` give another.

    Args:
        values: float32 or float64.
        rng: decides the directions.
        part: the multiple.
        dtype: that of the result, float32 or float64.
    """
    towards = np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # float64's numbers beyond float32's range
        near = values.astype(np.float32)
        moved = np.nextafter(near, towards)
        kept = (near == np.rint(near)) & ((near <= 0) | (moved < near))
        moved = np.where(np.isfinite(moved) & ~kept, moved, near)
        exact = values.astype(np.float64)
        steps = moved.astype(np.float64) - near.astype(np.float64)
        return np.where(np.isfinite(exact) & np.isfinite(near), exact + part * steps, exact).astype(dtype)
