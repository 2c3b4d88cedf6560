"""The weights of linear and cubic interpolation along one axis, with and without antialiasing.

The filters are those of https://onnx.ai/onnx/operators/onnx__Resize.html: a triangle, and Keys' cubic convolution.
Antialiasing widens them by the scale where an axis shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Interpolation:
    """How values between pixels are found.

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
