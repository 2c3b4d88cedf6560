"""Resize and Upsample with the positions that onnxruntime takes.

onnx's evaluator reads `length_resized` of the operator's formulas as a fraction of a pixel, where scales are no whole
numbers, and compares positions in float64. Files are made for engines: there the length is a whole number, which pixel
is nearest is decided in float32, and an image that keeps its size is copied whatever the scales are.
https://onnx.ai/onnx/operators/onnx__Resize.html has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.reference.node import Node, UnsupportedError


@dataclass(frozen=True)
class Interpolation:
    """How values between pixels are found.

    The filters are those of https://onnx.ai/onnx/operators/onnx__Resize.html: a triangle, and Keys' cubic convolution.
    Antialiasing widens them by the scale where an axis shrinks.

    Attributes:
        cubic: by Keys' cubic convolution, otherwise linearly.
        a: the coefficient of the cubic.
        antialias: widen the filter where the axis shrinks.
        exclude_outside: pixels outside have no weight; otherwise the edge is repeated.
    """

    cubic: bool
    a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False

    def apply(self, x: NDArray[Any], axis: int, at: NDArray[np.float64], scale: float) -> NDArray[Any]:
        """Return the values at positions along an axis, in the dtype of `x`.

        Args:
            x: the values.
            axis: the axis.
            at: positions on it, in pixels.
            scale: the size after over the size before.
        """
        before, shape = x.shape[axis], (-1, *[1] * (x.ndim - 1 - axis))
        stretch = min(scale, 1.0) if self.antialias else 1.0
        reach = int(np.ceil((2 if self.cubic else 1) / stretch))
        first = np.floor(at).astype(np.int64)
        pixels = first[:, np.newaxis] + np.arange(1 - reach, reach + 1)
        weights = self._filter((pixels - at[:, np.newaxis]) * stretch)
        if self.exclude_outside:
            weights = np.where((pixels >= 0) & (pixels < before), weights, 0)
        if self.exclude_outside or self.antialias:
            weights = weights / weights.sum(axis=1, keepdims=True)
        pixels = np.clip(pixels, 0, before - 1)
        taps = range(pixels.shape[1])
        return sum(x.take(pixels[:, tap], axis) * weights[:, tap].astype(x.dtype).reshape(shape) for tap in taps)  # pyright: ignore[reportReturnType]

    def _filter(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        d, a = np.abs(distances), self.a
        if not self.cubic:
            return np.maximum(1 - d, 0)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))


MODES = frozenset({"nearest", "linear", "bilinear", "cubic"})
WITH_MODES = 11
"""The opset from which attributes choose positions; before it, they are divided by the scale."""
_Floats = Any


@dataclass(frozen=True)
class _Axis:
    """One axis: its scale, its size after and before, and the part of it that is cropped, as fractions."""

    scale: Any
    after: int
    before: int
    crop: tuple[float, float] = (0.0, 1.0)


Positions = Callable[[_Floats, _Axis], _Floats]
"""From output positions to positions in the input."""


def _half_pixel(at: _Floats, axis: _Axis) -> _Floats:
    half = at.dtype.type(0.5)
    return (at + half) / axis.scale - half


def _pytorch_half_pixel(at: _Floats, axis: _Axis) -> _Floats:
    return _half_pixel(at, axis) if axis.after > 1 else np.zeros_like(at)


def _half_pixel_symmetric(at: _Floats, axis: _Axis) -> _Floats:
    """Onnxruntime finds the offset in float32, and adds it in float64."""
    kind = at.dtype.type
    exact = kind(axis.scale) * kind(axis.before)
    offset = kind(axis.before / 2) * (1 - kind(axis.after) / exact)
    found = np.float64(offset) + (at.astype(np.float64) + 0.5) / np.float64(axis.scale) - 0.5
    return found.astype(kind)


def _align_corners(at: _Floats, axis: _Axis) -> _Floats:
    kind = at.dtype.type
    return at * kind(axis.before - 1) / kind(axis.after - 1) if axis.after > 1 else np.zeros_like(at)


def _asymmetric(at: _Floats, axis: _Axis) -> _Floats:
    return at / axis.scale


def _crop_and_resize(at: _Floats, axis: _Axis) -> _Floats:
    kind = at.dtype.type
    start, end, last = kind(axis.crop[0]), kind(axis.crop[1]), kind(axis.before - 1)
    if axis.after == 1:
        return np.full_like(at, kind(0.5) * (start + end) * last)
    return start * last + at * (end - start) * last / kind(axis.after - 1)


CROP = "tf_crop_and_resize"
POSITIONS: dict[str, Positions] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    CROP: _crop_and_resize,
}


TIE = 1e-6
"""How far from the middle of two pixels a position may be to tie, in onnxruntime and here."""


def _round_prefer_floor(at: _Floats, scale: Any) -> _Floats:
    del scale
    return np.ceil(at.astype(np.float64) - 0.5 - TIE)


def _round_prefer_ceil(at: _Floats, scale: Any) -> _Floats:
    del scale
    return np.floor(at.astype(np.float64) + 0.5 + TIE)


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
        UnsupportedError: other modes, or interpolation of integers.
    """
    given = node.attributes
    if node.opset < WITH_MODES:
        return _resize(x, _by_axis(others[0]), None, {"mode": given.get("mode", "nearest"), **_OLD}, {})
    roi, scales, sizes = (others[place] if len(others) > place else None for place in (0, 1, 2))
    axes = [axis % x.ndim for axis in given.get("axes", range(x.ndim))]
    after = None if sizes is None or not sizes.size else dict(zip(axes, map(int, sizes), strict=True))
    factors = {} if scales is None else dict(zip(axes, np.asarray(scales, np.float32), strict=after is None))
    if after is not None and (policy := given.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        ratio = _find_ratio(after, x.shape, policy)
        factors = dict.fromkeys(axes, ratio)
        after = {axis: int(np.floor(ratio * np.float32(x.shape[axis]) + np.float32(0.5))) for axis in axes}
    crops = {} if roi is None or not roi.size else dict(zip(axes, zip(*np.split(roi, 2), strict=True), strict=True))
    return _resize(x, factors, after, given, crops)


def upsample(node: Node, x: Any, scales: Any = None) -> Any:
    """Enlarge; output positions are divided by the scale."""
    factors = node.attributes["scales"] if scales is None else scales
    return _resize(x, _by_axis(factors), None, {"mode": node.attributes.get("mode", "nearest"), **_OLD}, {})


_OLD = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "simple"}
"""What operators without the attributes do."""


def _by_axis(scales: Any) -> dict[int, Any]:
    """Return {axis: scale in float32}."""
    return dict(enumerate(np.asarray(scales, np.float32)))


def _find_ratio(sizes: Mapping[int, int], shape: tuple[int, ...], policy: str) -> Any:
    """Return the one scale of all axes: the largest within the sizes given, or the smallest that contains them."""
    ratios = [np.float32(size) / np.float32(shape[axis]) for axis, size in sizes.items()]
    return min(ratios) if policy == "not_larger" else max(ratios)


def _resize(
    x: Any,
    scales: Mapping[int, Any],
    sizes: Mapping[int, int] | None,
    given: Mapping[str, Any],
    crops: Mapping[int, tuple[float, float]],
) -> Any:
    mode, positions = given.get("mode", "nearest"), given.get("coordinate_transformation_mode", "half_pixel")
    if mode not in MODES or positions not in POSITIONS or not isinstance(x, np.ndarray):
        raise UnsupportedError(f"{mode}, {positions}")
    if mode != "nearest" and x.dtype.kind != "f":
        raise UnsupportedError(str(x.dtype))
    find, nearest = POSITIONS[positions], NEAREST[given.get("nearest_mode", "round_prefer_floor")]
    by = Interpolation(
        mode == "cubic",
        given.get("cubic_coeff_a", -0.75),
        bool(given.get("antialias")),
        bool(given.get("exclude_outside")),
    )
    outside: list[tuple[int, NDArray[np.bool_]]] = []
    wanted = sizes or {axis: int(scale * np.float32(x.shape[axis])) for axis, scale in scales.items()}
    if all(x.shape[axis] == after for axis, after in wanted.items()):
        return x
    for axis, after in wanted.items():
        before = x.shape[axis]
        scale = scales[axis] if sizes is None or axis in scales else np.float32(after) / np.float32(before)
        if after == before and scale == 1:
            continue
        if not before or not after:
            raise UnsupportedError("nothing to interpolate")
        crop = crops.get(axis, (0.0, 1.0))
        rough = find(np.arange(after, dtype=np.float32), _Axis(scale, after, before, crop))
        if positions == CROP:
            outside.append((axis, (rough < 0) | (rough > before - 1)))
        if mode == "nearest":
            x = x.take(np.clip(nearest(rough, scale), 0, before - 1).astype(np.int64), axis)
            continue
        exact = np.float64(scale) if sizes is None or axis in scales else np.float64(after) / before
        at = find(np.arange(after, dtype=np.float64), _Axis(exact, after, before, crop))
        at = at if by.cubic or by.antialias else np.clip(at, 0, before - 1)
        x = by.apply(x, axis, at, float(exact))
    return _fill_outside(x, outside, given.get("extrapolation_value", 0.0))


def _fill_outside(x: NDArray[Any], outside: list[tuple[int, NDArray[np.bool_]]], value: float) -> NDArray[Any]:
    for axis, where in outside:
        x[(slice(None),) * axis + (where,)] = value
    return x
