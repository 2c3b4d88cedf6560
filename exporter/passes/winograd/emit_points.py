"""The operators of a rewritten convolution for OpenVINO: the points of a tile in space are the first axis.

Sizes are those of `exporter.passes.winograd.emit`; what differs from it:

* **The space transform is 6 + 36 depthwise convolutions** (of a tile of 4x4): along rows for each of the `n` points,
  then along columns. OpenVINO computes convolutions with their channels last in memory, so that one convolution with
  all points as its output channels must be reordered before the product, which takes as long as the transform. Here the
  channels of the network are those of the convolutions: each writes one point as (N a, T', tiles, C), in place.
* **The points are the first axis**, before the batch: joining them copies nothing, and the tiles of all time steps are
  rows of one product without a Transpose. The output transform is one product with a small matrix from the left.

In onnxruntime, which computes depthwise convolutions with channels first, it would be slower.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.cancel_transposes import IMAGE_FIRST, IMAGE_LAST
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.winograd.emit import WinogradEmitter, window_order
from exporter.passes.winograd.tile_shape import PLAIN, TileShape
from exporter.passes.winograd.tiling import FEW_ROWS, tiling
from exporter.passes.winograd.weights import points_matrix, space_matrix


class PointsEmitter(WinogradEmitter):
    """Builds the operators of one convolution whose time and space are transformed, with at least `FEW_ROWS` rows."""

    @property
    def _weights_first(self) -> bool:
        return False  # OpenVINO arranges constant weights once, whichever factor they are

    def _transform_space(self, x: ir.Value) -> ir.Value:
        """(N, a, T', H W C) -> (s, N, a, T' tiles of H W, C)."""
        _, height, width = self.match.size
        channels, tiles, points = self.match.inputs, self.tiling, self.tiling.space.points
        window, excess = self.match.window, tiles.excess
        (_, top, left), (_, bottom, right), (_, below, beside) = window.before, window.after, excess
        x = self._reshape(x, "space.rows", -1, height, width, channels)
        x = self._op("Transpose", "space.channels_first", x, perm=IMAGE_FIRST)
        planes: list[ir.Value] = []
        for row in range(points):
            rows = self._depthwise(x, row, axis=0, pads=[top, 0, bottom + below, 0])
            for column in range(points):
                plane = self._depthwise(rows, column, axis=1, pads=[0, left, 0, right + beside])
                plane = self._op("Transpose", "space.channels_last", plane, perm=IMAGE_LAST)
                planes.append(
                    self._reshape(
                        plane, "space.point", 1, -1, tiles.time_points, tiles.tiles[0] * tiles.plane, channels
                    )
                )
        return self._op("Concat", "space", *planes, axis=0)

    def _depthwise(self, x: ir.Value, point: int, axis: int, pads: list[int]) -> ir.Value:
        """Compute one point of the tiles along rows (axis 0) or columns (axis 1)."""
        transform, channels = self.tiling.space, self.match.inputs
        kernel, strides = [1, 1], [1, 1]
        kernel[axis], strides[axis] = transform.inputs, transform.outputs
        taps = np.tile(transform.input[point], (channels, 1)).reshape(channels, 1, *kernel)
        name = f"space.{transform.outputs}.{'columns' if axis else 'rows'}.{point}.{channels}"
        filters = self._matrix(name, taps)
        attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads}
        return self._op("Conv", f"space.{'columns' if axis else 'rows'}", x, filters, group=channels, **attributes)

    def _multiply(self, x: ir.Value, weights: ir.Value) -> ir.Value:
        """Sum over C: to (s, N, a, rows, K)."""
        return self._op("MatMul", "product", x, weights)

    def _weights(self) -> ir.Value:
        """Return the transformed weights, (s, 1, a, C, K)."""
        shape = (self.tiling.space_points, 1, self.tiling.time_points, self.match.inputs, self.match.outputs)
        return self._reshape(super()._weights(), "weight.points", *shape)

    def _points_matrix(self) -> NDArray[np.float64]:
        """Return the matrix from the taps of a kernel to the points of a tile, (s a, 27)."""
        return points_matrix(self.tiling.time, self.tiling.space, space_first=True)

    def _output_transform(self, x: ir.Value) -> ir.Value:
        """(s, N, a, rows, K) -> (outputs in space, N, outputs in time, rows K)."""
        tiles, m = self.tiling, self.tiling.space.outputs
        assert tiles.time is not None
        order = window_order(m) if self.match.pool is not None else list(range(m * m))
        inner = tiles.tiles[0] * tiles.plane * self.match.outputs
        name = f"output.{m}{'.pool' if self.match.pool is not None else ''}"
        x = self._reshape(x, "output.rows", tiles.space_points, -1)
        x = self._op("MatMul", "output.space", self._matrix(name, space_matrix(tiles.space.output)[order]), x)
        x = self._reshape(x, "output.points", m * m, -1, tiles.time_points, inner)
        matrix = self._matrix(f"output.time.{tiles.time_points}", tiles.time.output)
        return self._op("MatMul", "output.time", matrix, x)

    def _pool(self, x: ir.Value) -> ir.Value:
        """Take the maximum over each window: of pairs of frames, then of four outputs of a tile."""
        if self.match.pool is None:
            return x
        m, inner = self.tiling.space.outputs, self.tiling.tiles[0] * self.tiling.plane * self.match.outputs
        if self.match.pool_window[0] > 1:
            x = self._max(self._reshape(x, "pool.pairs", -1, 2, inner), "pool.time")
        return self._max(self._reshape(x, "pool.windows", m * m // 4, 4, -1), "pool.space")

    def _assemble_tiles(self, x: ir.Value) -> ir.Value:
        """Assemble the tiles: (N, T, H, W, K), which may exceed the result."""
        times, frames, step = self._pooled
        _, rows, columns = self.tiling.tiles
        x = self._reshape(x, "tiles", step, step, -1, frames, times, rows, columns, self.match.outputs)
        x = self._op("Transpose", "assemble", x, perm=[2, 4, 3, 5, 0, 6, 1, 7])
        return self._reshape(x, "volume", -1, *self._assembled, self.match.outputs)


def points_first(match: ConvMatch, tile_shape: TileShape) -> bool:
    """Return whether a tile shape of a convolution is computed by `PointsEmitter` in OpenVINO.

    With fewer rows the channels are summed in parts, for accuracy, which it does not do.
    """
    if PLAIN in (tile_shape.time, tile_shape.space) or match.taps == 1:
        return False
    return tiling(match, tile_shape).rows >= FEW_ROWS
