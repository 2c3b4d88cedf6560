"""The operators of one Winograd tile shape, in order: transform the inputs, multiply, transform back.

Sizes below: N clips, C input and K output channels, (T, H, W) of the input. A tile gives `m` outputs from `m + 2`
inputs along an axis; `a` is its number of places in time, `s` those in space; T' tiles (or frames) lie along time, and
`p` in a plane; `rows` of them are multiplied with the weights at once, `q` parts of the channels apart. What decides
the speed:

* **Channels lie last.** Whatever is cut, copied or put together then moves as whole rows of channels. The Transposes at
  either end cancel with those of a neighbour (`exporter.passes.cancel_transposes`).
* **Time first, space second**: the transform in time widens the data before space is cut, not after. It is one product
  with a small matrix that knows the padding; long clips take a convolution.
* **The transform in space is a convolution** with fixed filters that moves by `m`: one operator pads, cuts overlapping
  tiles and transforms them. Rows and columns lie along axes of its kernel and channels along one where that is 1, so
  that the engine unrolls it by copying rows of channels, and its output has the tile's places in front, as batched
  matrix products want.
* **The products are one MatMul**, batched over the `a s` places: (rows, C) by (C, K). With few rows the weights are the
  left factor, (K, C) by (C, rows), because an engine rearranges the right one for every product; onnxruntime folds the
  Transpose that this needs into the product.
* **The max pool comes before the tiles are put together**: tiles are even, so no window leaves one. The outputs of a
  tile are ordered so that the four of a window are neighbours, and pooling is a maximum over an axis of data that lies
  in long runs; an eighth of it is then put together.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import add_initializer, constant, display_name, opset_of, remove_unused_initializers
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, IMAGE_FIRST, IMAGE_LAST, LAST
from exporter.passes.winograd.cook_toom import TAPS
from exporter.passes.winograd.pattern import IMAGE, ConvMatch
from exporter.passes.winograd.tile_shape import TileShape
from exporter.passes.winograd.tiling import MAX_MATRIX_FRAMES, tiling

REDUCE_AXES_AS_INPUT = 18
"""The opset from which ReduceMax takes its axes as an input."""


class WinogradEmitter:
    """Builds the operators of one match in one tile shape.

    Args:
        model: where constants are registered; those that do not depend on the weights are shared between matches.
        match: what is rewritten.
        tile_shape: the outputs of a tile.
        precomputed: keep the transformed weights in the file, which grows by them, instead of nodes that compute
            them from the weights as trained, which engines do once, when they load the model.
    """

    def __init__(self, model: ir.Model, match: ConvMatch, tile_shape: TileShape, *, precomputed: bool) -> None:
        self.model, self.match, self.tile_shape, self.precomputed = model, match, tile_shape, precomputed
        self.tiling = tiling(match, tile_shape)
        self._built = Builder(model, f"{display_name(match.conv)}.winograd")
        self._op, self._reshape = self._built.op, self._built.reshape

    def build(self) -> tuple[list[ir.Node], ir.Value]:
        """Return the nodes in order, and the value that stands for the match's result."""
        source = self.match.conv.inputs[0]
        assert source is not None
        image = self.match.rank == IMAGE
        x = self._op("Transpose", "last", source, perm=IMAGE_LAST if image else LAST)
        x = self._multiply(self._transform_space(self._transform_time(x)))
        x = self._with_bias(self._assemble_tiles(self._pool(self._output_transform(x))))
        if image:
            x = self._reshape(x, "picture", -1, *self.match.result[1:], self.match.outputs)
        x = self._op("Relu", "relu", x) if self.match.relu is not None else x
        x = self._op("Transpose", "first", x, perm=IMAGE_FIRST if image else FIRST)
        return self._built.nodes, x

    def _transform_time(self, x: ir.Value) -> ir.Value:
        """(N, T, H, W, C) -> (N, a, T', H W C), or nothing to do."""
        time = self.tiling.time
        if time is None:
            return x
        frames, height, width = self.match.size
        a, n, m, tiles = time.points, time.inputs, time.outputs, self.tiling.tiles[0]
        row = height * width * self.match.inputs
        if frames > MAX_MATRIX_FRAMES:
            x = self._reshape(x, "time.rows", -1, 1, 1, frames, row)
            filters = self._matrix(f"time.{a}", time.input.reshape(a, 1, 1, n, 1))
            pads = [0, self.tiling.lead, 0, 0, self.match.after[0] + self.tiling.over[0], 0]
            return self._conv(x, "time", filters, [1, n, 1], strides=[1, m, 1], pads=pads)
        matrix = np.zeros((a, tiles, frames))
        for tile in range(tiles):
            for place in range(n):
                frame = tile * m + place - self.tiling.lead
                if 0 <= frame < frames:
                    matrix[:, tile, frame] = time.input[:, place]
        name = f"time.{a}.{tiles}.{frames}.{self.tiling.lead}"
        matrix = self._matrix(name, matrix.reshape(a * tiles, frames))
        return self._op("MatMul", "time", matrix, self._reshape(x, "time.rows", -1, frames, row))

    def _transform_space(self, x: ir.Value) -> ir.Value:
        """(N, a, T', H W C) -> (N a T', s, tiles of H, tiles of W, C)."""
        _, height, width = self.match.size
        n, m = self.tiling.space.points, self.tiling.space.outputs
        x = self._reshape(x, "space.rows", -1, 1, height, width, self.match.inputs)
        filters = self._matrix(f"space.{m}", _square(self.tiling.space.input).reshape(n * n, 1, n, n, 1))
        (_, top, left), (_, bottom, right), (_, below, beside) = self.match.before, self.match.after, self.tiling.over
        pads = [top, left, 0, bottom + below, right + beside, 0]
        return self._conv(x, "space", filters, [n, n, 1], strides=[m, m, 1], pads=pads)

    def _multiply(self, x: ir.Value) -> ir.Value:
        """Sum over C: to (N, a s, rows, K), or (N, a, T', s, rows, K) where not merged, or (N, a s, q, K, rows)."""
        channels, laid = self.match.inputs, self.tiling
        a, s, q, times, plane = laid.steps, laid.places, laid.parts, laid.tiles[0], laid.plane
        weights = self._weights()
        if times > 1 and not laid.merged:
            weights = self._reshape(weights, "weight.places", 1, a, 1, s, channels, self.match.outputs)
            return self._op("MatMul", "product", self._reshape(x, "rows", -1, a, times, s, plane, channels), weights)
        if q > 1:
            x = self._reshape(x, "steps", -1, a, times, s, plane, q, channels // q)
            x = self._op("Transpose", "merge", x, perm=[0, 1, 3, 5, 2, 4, 6])
        elif laid.merged:
            x = self._reshape(x, "steps", -1, a, times, s, plane * channels)
            x = self._op("Transpose", "merge", x, perm=[0, 1, 3, 2, 4])
        x = self._reshape(x, "rows", -1, a * s, q, laid.rows, channels // q)
        if not laid.weights_first:
            return self._op("MatMul", "product", x, weights)
        return self._op("MatMul", "product", weights, self._op("Transpose", "columns", x, perm=[0, 1, 2, 4, 3]))

    def _weights(self) -> ir.Value:
        """Return the transformed weights, (1, a s, 1, C, K), or (1, a s, q, K, C/q) where they come first.

        As nodes they are one convolution that moves over the taps as they lie in memory, a whole filter at a time: its
        output has the places of the tile in front.
        """
        match, laid = self.match, self.tiling
        weight = match.conv.inputs[1]
        tensor = constant(weight)
        assert weight is not None
        assert tensor is not None
        matrix = _square(laid.space.weight)  # (s, 9)
        if laid.time is not None:
            matrix = np.einsum("at,sf->astf", laid.time.weight, matrix).reshape(-1, TAPS * TAPS * TAPS)  # (a s, 27)
        places, taps = matrix.shape
        part = match.inputs // laid.parts
        if self.precomputed:
            trained = np.asarray(tensor.numpy(), dtype=np.float64).reshape(match.outputs, laid.parts, part, taps)
            order = "pt,kqct->pqkc" if laid.weights_first else "pt,kqct->pqck"
            held = np.einsum(order, matrix, trained, optimize=True).astype(np.float32)
            return add_initializer(self.model, f"{weight.name}.winograd", ir.tensor(np.ascontiguousarray(held[None])))
        filters = self._matrix(f"weight.{laid.steps}.{self.tile_shape.space}", matrix.reshape(places, 1, 1, 1, taps))
        lying = (laid.parts, match.outputs, part) if laid.weights_first else (1, match.inputs, match.outputs)
        if not laid.weights_first or laid.parts > 1:
            shape = (
                (match.outputs, laid.parts, part * taps) if laid.weights_first else (match.outputs, match.inputs, taps)
            )
            weight = self._reshape(weight, "weight.channels", *shape)
            weight = self._op("Transpose", "weight.order", weight, perm=[1, 0, 2])
        rows = self._reshape(weight, "weight.taps", 1, 1, *lying[:2], lying[2] * taps)
        return self._op("Conv", "weight", rows, filters, kernel_shape=[1, 1, taps], strides=[1, 1, taps])

    def _output_transform(self, x: ir.Value) -> ir.Value:
        """(…, s, q, rows K) -> (N, outputs of time, …, outputs of space, rows K)."""
        laid, m = self.tiling, self.tiling.space.outputs
        order = _window_order(m) if self.match.pool is not None else list(range(m * m))
        back = np.repeat(_square(laid.space.output)[order], laid.parts, axis=1)
        name = f"back.{m}.{laid.parts}{'.pool' if self.match.pool is not None else ''}"
        inner = laid.rows * self.match.outputs
        x = self._reshape(x, "back.rows", -1, laid.places * laid.parts, inner)
        x = self._op("MatMul", "back.space", self._matrix(name, back), x)
        if laid.time is None:
            return x
        between = 1 if laid.merged else laid.tiles[0]
        x = self._reshape(x, "back.places", -1, laid.steps, between * m * m * inner)
        back = self._matrix(f"back.time.{laid.steps}", laid.time.output)
        return self._op("MatMul", "back.time", back, x)

    def _pool(self, x: ir.Value) -> ir.Value:
        """Take the maximum over each window: pairs of frames first, because that halves the data in one short step."""
        if self.match.pool is None:
            return x
        laid, m = self.tiling, self.tiling.space.outputs
        inner = laid.rows * self.match.outputs
        if self.match.window[0] > 1:
            if laid.time is not None:
                behind = (1 if laid.merged else laid.tiles[0]) * m * m * inner
            elif not laid.merged:
                behind = m * m * inner
            else:
                behind = laid.plane * (1 if laid.weights_first else self.match.outputs)
            x = self._max(self._reshape(x, "pool.pairs", -1, 2, behind), "pool.time")
        halved = 2 if laid.time is None and laid.merged and self.match.window[0] > 1 else 1
        return self._max(self._reshape(x, "pool.windows", -1, 4, inner // halved), "pool.space")

    def _assemble_tiles(self, x: ir.Value) -> ir.Value:
        """Put the tiles together and cut what hangs over: (N, T, H, W, K) of the match's result."""
        match, laid = self.match, self.tiling
        times, rows, columns = laid.tiles
        frames, step = self.tile_shape.time, self.tile_shape.space // match.window[1]
        if laid.time is not None:
            frames //= match.window[0]
        else:
            times //= match.window[0]
        if laid.weights_first:
            tiles = laid.rows * times // laid.tiles[0] if laid.merged else laid.rows
            x = self._reshape(x, "channels", -1, match.outputs, tiles)
            x = self._op("Transpose", "channels.last", x, perm=[0, 2, 1])
        if frames * step > 1:
            order = [0, 2, 1, 5, 3, 6, 4, 7]
            lying = (frames, times, step, step, rows, columns)
            if laid.merged:
                order = [0, 4, 1, 5, 2, 6, 3, 7]
                lying = (frames, step, step, times, rows, columns)
            x = self._op("Transpose", "together", self._reshape(x, "tiles", -1, *lying, match.outputs), perm=order)
        made = (times * frames, rows * step, columns * step)
        x = self._reshape(x, "volume", -1, *made, match.outputs)
        return x if made == match.result else self._slice(x, match.result)

    def _with_bias(self, x: ir.Value) -> ir.Value:
        bias = self.match.conv.inputs[2] if len(self.match.conv.inputs) > 2 else None
        return x if bias is None else self._op("Add", "bias", x, bias)

    def _slice(self, x: ir.Value, size: tuple[int, int, int]) -> ir.Value:
        starts = self._built.integers("winograd.starts", [0, 0, 0])
        axes = self._built.integers("winograd.axes", [1, 2, 3])
        return self._op(
            "Slice", "cut", x, starts, self._built.integers(f"winograd.ends.{'.'.join(map(str, size))}", size), axes
        )

    def _max(self, x: ir.Value, step: str) -> ir.Value:
        """Take the maximum over axis 1."""
        if opset_of(self.model) >= REDUCE_AXES_AS_INPUT:
            return self._op("ReduceMax", step, x, self._built.integers("winograd.pooled", [1]), keepdims=0)
        return self._op("ReduceMax", step, x, axes=[1], keepdims=0)

    def _conv(
        self, x: ir.Value, step: str, weight: ir.Value, kernel: list[int], *, pads: list[int], strides: list[int]
    ) -> ir.Value:
        return self._op("Conv", step, x, weight, kernel_shape=kernel, pads=pads, strides=strides)

    def _matrix(self, name: str, matrix: NDArray[np.float64]) -> ir.Value:
        return self._built.constant(f"winograd.{name}", matrix.astype(np.float32))


def replace_conv(model: ir.Model, match: ConvMatch, tile_shape: TileShape, *, precomputed: bool) -> None:
    """Replace the matched nodes by Winograd operators; the result keeps its name. See `WinogradEmitter`."""
    old = match.nodes
    nodes, value = WinogradEmitter(model, match, tile_shape, precomputed=precomputed).build()
    constants = list(match.conv.inputs[1:])
    ir.convenience.replace_nodes_and_values(model.graph, old[-1], old, nodes, [old[-1].outputs[0]], [value])
    remove_unused_initializers(model, constants)


def _square(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix of both axes of space, rows before columns."""
    return np.kron(matrix, matrix).astype(np.float64)


def _window_order(outputs: int) -> list[int]:
    """Return a tile's outputs so that the four of each 2x2 window are neighbours."""
    half = outputs // 2
    return [
        (2 * row + down) * outputs + 2 * column + right
        for row in range(half)
        for column in range(half)
        for down in range(2)
        for right in range(2)
    ]
