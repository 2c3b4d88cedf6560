"""The tile sizes to try, the fastest first: `export` and `optimize` fall back to smaller ones when parity fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from exporter.passes.decisions import Decision
from exporter.types import OptimizeOptions

ACCURATE_TILE = 2
"""Winograd tiles whose rounding errors are hardly larger than those of a direct convolution."""


NO_TILE = 1
"""As `OptimizeOptions.max_tile`: no convolution is computed by Winograd."""


def tile_candidates(options: OptimizeOptions) -> Iterator[OptimizeOptions]:
    """Yield the options as they are, then with tiles of `ACCURATE_TILE` if those are smaller."""
    yield options
    if options.target == "cpu" and options.max_tile > ACCURATE_TILE:
        yield replace(options, max_tile=ACCURATE_TILE)


def describe_tiles(options: OptimizeOptions) -> str:
    """Return the name, in messages and manifests, of the graph that these options lead to."""
    if options.target == "cpu":
        return f"Winograd tiles up to {options.max_tile}"
    return "the portable graph" if options.target == "portable" else f"the graph for {options.target}"


def has_tiles(decisions: Iterable[Decision], above: int = NO_TILE) -> bool:
    """Return whether a convolution was rewritten with Winograd tiles larger than `above` along an axis."""
    from exporter.passes.winograd.tile_shape import TILE_SHAPES

    larger = {shape.title for shape in TILE_SHAPES if max(shape.time, shape.space) > above}
    return any(row.action in larger for row in decisions)
