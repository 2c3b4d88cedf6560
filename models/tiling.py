"""How a rewritten TorchScript module computes C3D's convolutions: Winograd tiles, with the pools inside them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from models.pooling import POOLED_CONVOLUTIONS, Pool, Sizes
from models.specs import ConvHint

_TILES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "conv1": (1, 4),
        "conv2": (4, 4),
        "conv3a": (4, 4),
        "conv3b": (4, 4),
        "conv4a": (4, 2),
        "conv4b": (4, 2),
        "conv5a": (4, 2),
        "conv5b": (4, 2),
    }
)
"""The Winograd tiles (frames, rows and columns) measured to be fastest on server CPUs (docs: benchmarks), where a map
has as many frames. conv1 has little to multiply; it gains because its output, the network's largest tensor, is pooled
in parts that stay in the cache."""
_TWO_FRAMES = 2
_LAST_POOL = "pool5"
"""It is not computed with its convolution, whatever its windows: the map before it is an output of the network."""


def make_conv_hints(map_sizes: Mapping[str, Sizes], pools: Mapping[str, Pool | None]) -> dict[str, ConvHint]:
    """Return how each convolution is computed.

    Args:
        map_sizes: {layer: (time, height, width) of its output}.
        pools: {pooling layer: its windows}.
    """
    pooled = {
        POOLED_CONVOLUTIONS[name]: (name, pool.kernel[0])
        for name, pool in pools.items()
        if pool is not None and pool.halves and name != _LAST_POOL  # only such windows are inside tiles
    }
    hints: dict[str, ConvHint] = {}
    for conv, (frames, side) in _TILES.items():
        available = map_sizes[conv][0]
        tile = min(frames, available) if available <= _TWO_FRAMES else frames
        pair = tile == available == _TWO_FRAMES
        hints[conv] = ConvHint((tile, side), *pooled.get(conv, ("", 0)), two_frames=pair)
    return hints
