"""The operators of a rewritten convolution, in order: input transform, matrix product, output transform.

Sizes below: N clips, C input and K output channels, (T, H, W) of the input. A tile has `m` outputs from `m + 2` inputs
along an axis; `a` is its number of points in time, `s` in space; there are T' tiles (or frames) along time, and `p` in
a plane; `rows` of them are multiplied by the weights at once, in `q` parts of the channels. For speed:

* **Channels are the last axis.** Slicing, copying and assembling tiles then move whole rows of channels. The Transposes
  at either end cancel with those of a neighbour (`exporter.passes.cancel_transposes`).
* **Time first, space second**, because the time transform makes the data larger and overlapping tiles in space do too.
  It is one product with a small matrix that contains the padding; long clips use a convolution.
* **The space transform is a convolution** with fixed filters and stride `m`: one operator pads, slices overlapping
  tiles and transforms them. Its kernel covers rows and columns and has size 1 along channels, so that the engine
  unrolls it by copying rows of channels, and the tile's points come first in its output, as batched matrix products
  need.
* **The products are one MatMul**, batched over the `a s` points: (rows, C) by (C, K). With few rows the weights are the
  left factor, (K, C) by (C, rows), because an engine reorders the right one for every product; onnxruntime folds the
  Transpose that this needs into the product.
* **The max pool comes before the tiles are assembled**: tiles are even, so each window is inside one. The outputs of a
  tile are ordered so that the four of a window are adjacent, and pooling is a maximum over one axis; then only an
  eighth of the data is assembled.
* **Large layers are computed in parts of time**, each through all of these steps, in the memory of the one before it.
"""

from __future__ import annotations

import abc
from copy import copy

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, IMAGE_FIRST, IMAGE_LAST, LAST
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import add_initializer, display_name, read_array
from exporter.passes.winograd.tile_shape import TileShape
from exporter.passes.winograd.tiling import MAX_MATRIX_FRAMES, Tiling, tiling, time_matrix
from exporter.passes.winograd.weights import point_weights, points_matrix, space_matrix

FRAMES_COPIED = 4
"""A part of time slices the frames that it reads first if the clip has more than this many times as many frames.
Otherwise its time transform multiplies all frames, most of them by zero: an engine slices in one thread, and multiplies
in all of them."""


class Emitter(abc.ABC):
    """Builds the operators of one convolution in one tile shape.

    Args:
        model: where constants are registered; those that do not depend on the weights are shared by all convolutions.
        match: the convolution.
        tile_shape: the outputs of a tile.
        precomputed: store the transformed weights in the file, which makes it larger, instead of nodes that compute
            them from the trained weights, which engines do once, when they load the model.
    """

    def __init__(self, model: ir.Model, match: ConvMatch, tile_shape: TileShape, *, precomputed: bool) -> None:
        self.model, self.match, self.tile_shape, self.precomputed = model, match, tile_shape, precomputed
        self._builder = Builder(model, f"{display_name(match.conv)}.winograd")
        self._op, self._reshape = self._builder.op, self._builder.reshape
        _, weight, *biases = match.conv.inputs
        assert weight is not None
        self._source, self._weight = match.source, weight
        self._bias = biases[0] if biases else None

    @abc.abstractmethod
    def build(self) -> tuple[list[ir.Node], ir.Value]:
        """Return the nodes in order, and the value that replaces the result."""

    def _max(self, x: ir.Value, step: str) -> ir.Value:
        """Take the maximum over axis 1."""
        return self._builder.reduce("ReduceMax", step, x, 1, "winograd.pool_axis")

    def _matrix(self, name: str, matrix: NDArray[np.float64]) -> ir.Value:
        return self._builder.constant(f"winograd.{name}", matrix.astype(np.float32))

    def _store_weights(self, transformed: NDArray[np.float32]) -> ir.Value:
        values = np.ascontiguousarray(transformed)
        return add_initializer(self.model, f"{self._weight.name}.winograd", ir.tensor(values))


class WinogradEmitter(Emitter):
    """Builds the operators of one convolution whose space, and time if its kernel has several frames, is transformed.

    Args: those of `Emitter`.
    """

    def __init__(self, model: ir.Model, match: ConvMatch, tile_shape: TileShape, *, precomputed: bool) -> None:
        super().__init__(model, match, tile_shape, precomputed=precomputed)
        self.tiling = tiling(match, tile_shape)

    @property
    def _weights_first(self) -> bool:
        return self.tiling.weights_first

    def build(self) -> tuple[list[ir.Node], ir.Value]:
        """Return the nodes in order, and the value that replaces the result."""
        image = self.match.image
        x = self._op("Transpose", "channels_last", self._source, perm=IMAGE_LAST if image else LAST)
        weights = self._weights()
        parts = [self._make_emitter(part)._compute(x, weights) for part in self.tiling.split_time(self.match.outputs)]
        x = parts[0] if len(parts) == 1 else self._op("Concat", "parts", *parts, axis=1)
        x = x if self._assembled == self.match.pooled else self._slice(x, self.match.pooled)
        x = x if self._bias is None else self._op("Add", "bias", x, self._bias)
        if image:
            x = self._reshape(x, "image", -1, *self.match.pooled[1:], self.match.outputs)
        x = self._op("Relu", "relu", x) if self.match.has_relu else x
        x = self._op("Transpose", "channels_first", x, perm=IMAGE_FIRST if image else FIRST)
        return self._builder.nodes, x

    def _make_emitter(self, part: Tiling) -> WinogradEmitter:
        """Return an emitter, into the same model, of some of the tiles."""
        emitter = copy(self)
        emitter.tiling = part
        return emitter

    def _compute(self, x: ir.Value, weights: ir.Value) -> ir.Value:
        """(N, T, H, W, C) -> (N, T, H, W, K) of these tiles: all steps, without bias and ReLU."""
        x = self._multiply(self._transform_space(self._transform_time(x)), weights)
        return self._assemble_tiles(self._pool(self._output_transform(x)))

    def _transform_time(self, x: ir.Value) -> ir.Value:
        """(N, T, H, W, C) -> (N, a, T', H W C), or unchanged if time is not transformed."""
        time = self.tiling.time
        if time is None:
            return x
        frames, height, width = self.match.size
        a, n, m, tiles = time.points, time.inputs, time.outputs, self.tiling.tiles[0]
        row = height * width * self.match.inputs
        read = self.tiling.read_frames(frames)
        if len(read) > MAX_MATRIX_FRAMES:
            x = self._reshape(x, "time.rows", -1, 1, 1, frames, row)
            filters = self._matrix(f"time.{a}", time.input.reshape(a, 1, 1, n, 1))
            pads = [0, self.tiling.lead, 0, 0, self.match.window.after[0] + self.tiling.excess[0], 0]
            return self._op("Conv", "time", x, filters, kernel_shape=[1, n, 1], pads=pads, strides=[1, m, 1])
        x = self._reshape(x, "time.rows", -1, frames, row)
        lead = self.tiling.lead - self.tiling.first * m
        if frames > FRAMES_COPIED * len(read):
            start, stop = (self._builder.integers(f"winograd.frame.{at}", [at]) for at in (read.start, read.stop))
            x = self._op("Slice", "frames", x, start, stop, self._builder.integers("winograd.frame_axis", [1]))
            frames, lead = len(read), lead + read.start
        matrix = time_matrix(time, 0, tiles, range(frames), lead)
        matrix = self._matrix(f"time.{a}.{tiles}.{frames}.{lead}", matrix.reshape(a * tiles, frames))
        return self._op("MatMul", "time", matrix, x)

    def _transform_space(self, x: ir.Value) -> ir.Value:
        """(N, a, T', H W C) -> (N a T', s, tiles of H, tiles of W, C)."""
        _, height, width = self.match.size
        n, m = self.tiling.space.points, self.tiling.space.outputs
        x = self._reshape(x, "space.rows", -1, 1, height, width, self.match.inputs)
        filters = self._matrix(f"space.{m}", space_matrix(self.tiling.space.input).reshape(n * n, 1, n, n, 1))
        window, excess = self.match.window, self.tiling.excess
        (_, top, left), (_, bottom, right), (_, below, beside) = window.before, window.after, excess
        pads = [top, left, 0, bottom + below, right + beside, 0]
        return self._op("Conv", "space", x, filters, kernel_shape=[n, n, 1], pads=pads, strides=[m, m, 1])

    def _multiply(self, x: ir.Value, weights: ir.Value) -> ir.Value:
        """Sum over C: to (N, a s, rows, K), or (N, a, T', s, rows, K) if not merged, or (N, a s, q, K, rows)."""
        channels, tiles = self.match.inputs, self.tiling
        a, s, q, times, plane = tiles.time_points, tiles.space_points, tiles.parts, tiles.tiles[0], tiles.plane
        if times > 1 and not tiles.merged:
            weights = self._reshape(weights, "weight.points", 1, a, 1, s, channels, self.match.outputs)
            return self._op("MatMul", "product", self._reshape(x, "rows", -1, a, times, s, plane, channels), weights)
        if q > 1:
            x = self._reshape(x, "time_steps", -1, a, times, s, plane, q, channels // q)
            x = self._op("Transpose", "merge", x, perm=[0, 1, 3, 5, 2, 4, 6])
        elif tiles.merged:
            x = self._reshape(x, "time_steps", -1, a, times, s, plane * channels)
            x = self._op("Transpose", "merge", x, perm=[0, 1, 3, 2, 4])
        x = self._reshape(x, "rows", -1, a * s, q, tiles.rows, channels // q)
        if not self._weights_first:
            return self._op("MatMul", "product", x, weights)
        return self._op("MatMul", "product", weights, self._op("Transpose", "columns", x, perm=[0, 1, 2, 4, 3]))

    def _weights(self) -> ir.Value:
        """Return the transformed weights, (1, a s, 1, C, K), or (1, a s, q, K, C/q) if they come first.

        As nodes they are one convolution over the taps in memory order, with the stride of a whole filter: the points
        of the tile come first in its output.
        """
        match, tiles, weight = self.match, self.tiling, self._weight
        matrix = self._points_matrix()
        points, taps = matrix.shape
        part = match.inputs // tiles.parts
        if self.precomputed:
            trained = read_array(weight)
            return self._store_weights(point_weights(matrix, trained, tiles.parts, weights_first=self._weights_first))
        filters = self._matrix(
            f"weight.{tiles.time_points}.{self.tile_shape.space}", matrix.reshape(points, 1, 1, 1, taps)
        )
        axes = (tiles.parts, match.outputs, part) if self._weights_first else (1, match.inputs, match.outputs)
        if not self._weights_first or tiles.parts > 1:
            shape = (
                (match.outputs, tiles.parts, part * taps)
                if self._weights_first
                else (match.outputs, match.inputs, taps)
            )
            weight = self._reshape(weight, "weight.channels", *shape)
            weight = self._op("Transpose", "weight.order", weight, perm=[1, 0, 2])
        rows = self._reshape(weight, "weight.taps", 1, 1, *axes[:2], axes[2] * taps)
        return self._op("Conv", "weight", rows, filters, kernel_shape=[1, 1, taps], strides=[1, 1, taps])

    def _points_matrix(self) -> NDArray[np.float64]:
        """Return the matrix from the taps of a kernel to the points of a tile, (a s, 27), or (s, 9) without time."""
        return points_matrix(self.tiling.time, self.tiling.space)

    def _output_transform(self, x: ir.Value) -> ir.Value:
        """(…, s, q, rows K) -> (N, outputs in time, …, outputs in space, rows K)."""
        tiles, m = self.tiling, self.tiling.space.outputs
        order = window_order(m) if self.match.pool is not None else list(range(m * m))
        matrix = np.repeat(space_matrix(tiles.space.output)[order], tiles.parts, axis=1)
        name = f"output.{m}.{tiles.parts}{'.pool' if self.match.pool is not None else ''}"
        inner = tiles.rows * self.match.outputs
        x = self._reshape(x, "output.rows", -1, tiles.space_points * tiles.parts, inner)
        x = self._op("MatMul", "output.space", self._matrix(name, matrix), x)
        if tiles.time is None:
            return x
        separate = 1 if tiles.merged else tiles.tiles[0]
        x = self._reshape(x, "output.points", -1, tiles.time_points, separate * m * m * inner)
        matrix = self._matrix(f"output.time.{tiles.time_points}", tiles.time.output)
        return self._op("MatMul", "output.time", matrix, x)

    def _pool(self, x: ir.Value) -> ir.Value:
        """Take the maximum over each window: over pairs of frames first, because that halves the data in one step."""
        if self.match.pool is None:
            return x
        tiles, m = self.tiling, self.tiling.space.outputs
        inner = tiles.rows * self.match.outputs
        if self.match.pool_window[0] > 1:
            if tiles.time is not None:
                inner_size = (1 if tiles.merged else tiles.tiles[0]) * m * m * inner
            elif not tiles.merged:
                inner_size = m * m * inner
            else:
                inner_size = tiles.plane * (1 if self._weights_first else self.match.outputs)
            x = self._max(self._reshape(x, "pool.pairs", -1, 2, inner_size), "pool.time")
        halved = 2 if tiles.time is None and tiles.merged and self.match.pool_window[0] > 1 else 1
        return self._max(self._reshape(x, "pool.windows", -1, 4, inner // halved), "pool.space")

    def _assemble_tiles(self, x: ir.Value) -> ir.Value:
        """Assemble the tiles: (N, T, H, W, K), which may exceed the result."""
        match, tiles = self.match, self.tiling
        _, rows, columns = tiles.tiles
        times, frames, step = self._pooled
        if self._weights_first:
            count = tiles.rows * times // tiles.tiles[0] if tiles.merged else tiles.rows
            x = self._reshape(x, "channels", -1, match.outputs, count)
            x = self._op("Transpose", "channels.last", x, perm=[0, 2, 1])
        if frames * step > 1:
            order = [0, 2, 1, 5, 3, 6, 4, 7]
            axes = (frames, times, step, step, rows, columns)
            if tiles.merged:
                order = [0, 4, 1, 5, 2, 6, 3, 7]
                axes = (frames, step, step, times, rows, columns)
            x = self._op("Transpose", "assemble", self._reshape(x, "tiles", -1, *axes, match.outputs), perm=order)
        return self._reshape(x, "volume", -1, *self._assembled, match.outputs)

    @property
    def _pooled(self) -> tuple[int, int, int]:
        """The tiles along time, and the frames and the rows of one, after the pool."""
        times, frames, window = self.tiling.tiles[0], self.tile_shape.time, self.match.pool_window
        step = self.tile_shape.space // window[1]
        return (times // window[0], frames, step) if self.tiling.time is None else (times, frames // window[0], step)

    @property
    def _assembled(self) -> tuple[int, int, int]:
        """(T, H, W) of all tiles after the pool."""
        (times, frames, step), (_, rows, columns) = self._pooled, self.tiling.tiles
        return times * frames, rows * step, columns * step

    def _slice(self, x: ir.Value, size: tuple[int, int, int]) -> ir.Value:
        starts = self._builder.integers("winograd.starts", [0, 0, 0])
        axes = self._builder.integers("winograd.axes", [1, 2, 3])
        return self._op(
            "Slice", "crop", x, starts, self._builder.integers(f"winograd.ends.{'.'.join(map(str, size))}", size), axes
        )


def window_order(outputs: int) -> list[int]:
    """Return the order of a tile's outputs in which the four of each 2x2 window are adjacent."""
    windows = np.arange(outputs**2).reshape(outputs // 2, 2, outputs // 2, 2).swapaxes(1, 2)
    return windows.ravel().tolist()
