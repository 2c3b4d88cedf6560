"""The tile sizes to try, the fastest first: what `export` and `optimize` fall back through when parity fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from exporter.types import OptimizeOptions

ACCURATE_TILE = 2
"""Winograd tiles that round hardly more than a plain convolution."""


def tile_candidates(options: OptimizeOptions) -> Iterator[OptimizeOptions]:
    """Yield the options as they are, then with tiles of `ACCURATE_TILE` where those are smaller."""
    yield options
    if options.target == "cpu" and options.max_tile > ACCURATE_TILE:
        yield replace(options, max_tile=ACCURATE_TILE)


def describe_tiles(options: OptimizeOptions) -> str:
    """Return what messages and manifests call the graph that these options lead to."""
    return f"Winograd tiles up to {options.max_tile}" if options.target == "cpu" else "the portable graph"
