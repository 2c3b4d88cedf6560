"""C3D's pooling layers: their windows, in which its variants differ, the sizes that follow, and hints for rewriting.

torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from models.specs import ConvHint

Sizes = tuple[int, int, int]
"""(time, height, width): of a map, a window, a stride, ...."""


Variant = Literal["c3d", "global-pool", "efficient-3dcnns"]
"""The published network, or a relative with the same convolutions. `global-pool`: pool5 averages over all positions,
and what follows reads one number for each channel (xudejing/video-clip-order-prediction and its copies).
`efficient-3dcnns`: pool1 and pool5 have windows of their own (okankop/Efficient-3DCNNs, models/c3d.py)."""
VARIANTS: tuple[Variant, ...] = get_args(Variant)

Pool5 = Literal["symmetric", "right", "valid"]
"""Where pool5's 2x2x2 windows lie on a 7x7 map. `symmetric`: padding (0,1,1), the first window starts at -1 and there
are 4x4 (the PyTorch ports). `right`: windows start at 0 and the last of 4x4 extends past the edge (Caffe's ceil mode).
`valid`: no padding, 3x3 windows inside the map (facebookresearch/VMZ); on maps of even sides it equals `right`. Weights
trained under one return other scores under another, so the convention belongs to the checkpoint."""
POOL5_CONVENTIONS: tuple[Pool5, ...] = get_args(Pool5)


@dataclass(frozen=True)
class Pool:
    """A max pool's windows, as `torch.nn.MaxPool3d` takes them.

    Attributes:
        kernel: a window's size.
        stride: from one window to the next.
        padding: positions that are added on both sides; they never are the maximum.
        ceil_mode: the last window may extend past the far edge.
    """

    kernel: Sizes
    stride: Sizes
    padding: Sizes = (0, 0, 0)
    ceil_mode: bool = False

    def output_size(self, size: Sizes) -> Sizes:
        """Return the size of the pool's output for a map of `size`; an axis of 0 or less has no place for a window."""
        time, height, width = (self.output_length(axis, length) for axis, length in enumerate(size))
        return time, height, width

    def output_length(self, axis: int, length: int) -> int:
        """Return the output's length along one axis, as `torch.nn.MaxPool3d` documents it."""
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        last = length + 2 * padding - kernel
        count = (-(-last // stride) if self.ceil_mode else last // stride) + 1
        # in ceil mode a window must still begin inside the map or its left padding
        return count - 1 if self.ceil_mode and (count - 1) * stride >= length + padding else count

    @property
    def halves(self) -> bool:
        """Whether windows lie side by side, of two rows and columns and one or two frames, and none passes an edge."""
        inside = self.padding == (0, 0, 0) and not self.ceil_mode
        return inside and self.kernel == self.stride and self.kernel in ((1, 2, 2), (2, 2, 2))


POOLED_CONVOLUTIONS: Mapping[str, str] = MappingProxyType(
    {"pool1": "conv1", "pool2": "conv2", "pool3": "conv3b", "pool4": "conv4b", "pool5": "conv5b"}
)
"""{pooling layer: the convolution before it}, in the order of the forward pass."""

_HALVE = Pool((2, 2, 2), (2, 2, 2))
_POOL1 = Pool((1, 2, 2), (1, 2, 2))
_POOL5: Mapping[Pool5, Pool] = MappingProxyType(
    {
        "symmetric": Pool((2, 2, 2), (2, 2, 2), padding=(0, 1, 1)),
        # the last window may extend past the far edge, which is what ceil mode does on a 7x7 map
        "right": Pool((2, 2, 2), (2, 2, 2), ceil_mode=True),
        "valid": _HALVE,
    }
)


def make_pools(variant: Variant, pool5: Pool5) -> dict[str, Pool | None]:
    """Return {pooling layer: its windows}, in the order of the forward pass; None averages over all positions."""
    if variant == "efficient-3dcnns":
        first, last = Pool((2, 2, 2), (1, 2, 2)), Pool((1, 2, 2), (2, 2, 2), padding=(0, 1, 1))
    else:
        first, last = _POOL1, None if variant == "global-pool" else _POOL5[pool5]
    return {"pool1": first, "pool2": _HALVE, "pool3": _HALVE, "pool4": _HALVE, "pool5": last}


def format_size(size: Iterable[int]) -> str:
    """Return `3x16x112x112`."""
    return "x".join(map(str, size))


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
