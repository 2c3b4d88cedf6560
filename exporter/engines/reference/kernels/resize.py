"""Resize and Upsample by nearest neighbours or linearly, with the positions that onnxruntime takes.

onnx's evaluator reads `length_resized` of the operator's formulas as a fraction of a pixel, where scales are no whole
numbers, and compares positions in float64. Files are made for engines: there the length is a whole number, and which
pixel is nearest is decided in float32. https://onnx.ai/onnx/operators/onnx__Resize.html has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.engines.reference.node import Node, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WITH_MODES = 11
"""The opset from which attributes choose positions; before it, they are divided by the scale."""
_Floats = Any
Positions = Callable[["_Floats", Any, int, int], "_Floats"]
"""From output positions, the scale and the sizes after and before to positions in the input."""


def _half_pixel(at: _Floats, scale: Any, after: int, before: int) -> _Floats:
    del after, before
    half = at.dtype.type(0.5)
    return (at + half) / scale - half


def _pytorch_half_pixel(at: _Floats, scale: Any, after: int, before: int) -> _Floats:
    return _half_pixel(at, scale, after, before) if after > 1 else np.zeros_like(at)


def _align_corners(at: _Floats, scale: Any, after: int, before: int) -> _Floats:
    del scale
    kind = at.dtype.type
    return at * kind(before - 1) / kind(after - 1) if after > 1 else np.zeros_like(at)


def _asymmetric(at: _Floats, scale: Any, after: int, before: int) -> _Floats:
    del after, before
    return at / scale


POSITIONS: dict[str, Positions] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
}


def _round_prefer_floor(at: _Floats, scale: Any) -> _Floats:
    del scale
    return np.ceil(at - at.dtype.type(0.5))


def _round_prefer_ceil(at: _Floats, scale: Any) -> _Floats:
    del scale
    return np.floor(at + at.dtype.type(0.5))


NEAREST: dict[str, Callable[[_Floats, Any], _Floats]] = {
    "round_prefer_floor": _round_prefer_floor,
    "round_prefer_ceil": _round_prefer_ceil,
    "floor": lambda at, scale: np.floor(at),
    "ceil": lambda at, scale: np.ceil(at),
    "simple": lambda at, scale: np.ceil(at) if scale < 1 else np.floor(at),
}
"""{`nearest_mode`: the pixel of a position}; `simple` is that of operators without the attribute."""


def resize(node: Node, x: Any, *others: Any) -> Any:
    """Resize to given sizes, or by scales.

    Raises:
        UnsupportedError: cubic or antialiased interpolation, cropping, excluded borders, sizes that keep a ratio.
    """
    given = node.attributes
    if (
        given.get("antialias")
        or given.get("exclude_outside")
        or given.get("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        raise UnsupportedError("another policy")
    if node.opset < WITH_MODES:
        return _resize(x, _by_axis(others[0]), None, given.get("mode", "nearest"), "asymmetric", "simple")
    scales, sizes = (others[place] if len(others) > place else None for place in (1, 2))
    axes = [axis % x.ndim for axis in given.get("axes", range(x.ndim))]
    after = None if sizes is None or not sizes.size else dict(zip(axes, map(int, sizes), strict=True))
    factors = {} if scales is None else dict(zip(axes, np.asarray(scales, np.float32), strict=after is None))
    return _resize(
        x,
        factors,
        after,
        given.get("mode", "nearest"),
        given.get("coordinate_transformation_mode", "half_pixel"),
        given.get("nearest_mode", "round_prefer_floor"),
    )


def upsample(node: Node, x: Any, scales: Any = None) -> Any:
    """Enlarge; output positions are divided by the scale."""
    factors = node.attributes["scales"] if scales is None else scales
    return _resize(x, _by_axis(factors), None, node.attributes.get("mode", "nearest"), "asymmetric", "simple")


def _by_axis(scales: Any) -> dict[int, Any]:
    """Return {axis: scale in float32}."""
    return dict(enumerate(np.asarray(scales, np.float32)))


def _resize(
    x: Any, scales: dict[int, Any], sizes: dict[int, int] | None, mode: str, positions: str, nearest: str
) -> Any:
    if mode not in ("nearest", "linear", "bilinear") or positions not in POSITIONS or not isinstance(x, np.ndarray):
        raise UnsupportedError(f"{mode}, {positions}")
    if mode != "nearest" and x.dtype.kind != "f":
        raise UnsupportedError(str(x.dtype))
    for axis in scales if sizes is None else sizes:
        before = x.shape[axis]
        scale = scales[axis] if sizes is None else np.float32(sizes[axis]) / np.float32(before)
        after = int(scale * np.float32(before)) if sizes is None else sizes[axis]
        if after == before and scale == 1:
            continue
        if not before or not after:
            raise UnsupportedError("nothing to interpolate")
        find = POSITIONS[positions]
        if mode == "nearest":
            at = find(np.arange(after, dtype=np.float32), scale, after, before)
            x = x.take(np.clip(NEAREST[nearest](at, scale), 0, before - 1).astype(np.int64), axis)
        else:
            exact = np.float64(scale) if sizes is None else np.float64(after) / before
            x = _interpolate(
                x, axis, np.clip(find(np.arange(after, dtype=np.float64), exact, after, before), 0, before - 1)
            )
    return x


def _interpolate(x: NDArray[Any], axis: int, at: NDArray[np.float64]) -> NDArray[Any]:
    """Return the values at positions along an axis, between those of the two neighbours."""
    first = np.floor(at).astype(np.int64)
    second = np.minimum(first + 1, x.shape[axis] - 1)
    part = (at - first).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1 - axis))
    return x.take(first, axis) * (1 - part) + x.take(second, axis) * part
