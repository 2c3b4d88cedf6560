"""The operators of a convolution whose time axis alone is transformed: a grouped 2-D convolution of frames.

*Given* `y = MaxPool(Relu(Conv(x, W, b)))` of volumes with 3 taps in time, ReLU and pool each optional. *Result*: the
frames of each tile are transformed (`a` points from `m + 2` frames), each point is convolved in 2-D with its own
weights, as one of `a` groups, and the products are transformed back into `m` frames. *Algebra*: Winograd's along time
(`exporter.passes.winograd.cook_toom`); along rows and columns the convolution is as it was. *Source*: as of
`exporter.passes.winograd.rewrite`.

It takes half of the multiplications, fewer savings than a transform of all axes, but:

* **The convolution is 2-D**, for which onnxruntime has a blocked layout with a faster kernel and no copies.
* **Less data**: 1.5 times the input instead of 3.4, and 1.5 times the output.
* **Whole planes are rows**: the layout is (N, T, C, H, W), frames before channels, so that transforms are products with
  a small matrix from the left and nothing has to be assembled. It is near enough to (N, C, T, H, W) for a Transpose to
  copy whole planes.
* **The bias is one of the grouped convolution**: as the output transform A^T has full row rank, there are numbers `d`
  of the points with `A^T d = 1`, and the bias of point `p` is `d_p b`.
* **More accurate**, because only one axis is transformed.
"""

import numpy as np
import onnx_ir as ir

from exporter.passes.cancel_transposes import FRAMES
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import read_array
from exporter.passes.winograd.emit import Emitter
from exporter.passes.winograd.tile_shape import TileShape
from exporter.passes.winograd.tiling import leading_frames, time_matrix, time_transforms
from exporter.passes.winograd.weights import frame_weights

MAX_DENSE_FRAMES = 32
"""Up to this many frames, one matrix transforms all of them; its multiplications grow with the square of that."""
CHUNK_TILES = 4
"""Tiles of longer clips that are transformed by one matrix: the clip is copied, the frames between two chunks twice."""


class FramesEmitter(Emitter):
    """Builds the operators of one convolution in tiles of several frames and one row and column.

    Args: those of `Emitter`; `tile_shape.space` is 1.
    """

    def __init__(self, model: ir.Model, match: ConvMatch, tile_shape: TileShape, *, precomputed: bool) -> None:
        super().__init__(model, match, tile_shape, precomputed=precomputed)
        self.time = time_transforms(match, tile_shape)
        self.lead = leading_frames(match, tile_shape)
        tiles = -(-match.convolved[0] // self.time.outputs)
        dense = match.size[0] <= MAX_DENSE_FRAMES
        self.chunks = 1 if dense else -(-tiles // CHUNK_TILES)
        self.chunk_tiles = -(-tiles // self.chunks)

    def build(self) -> tuple[list[ir.Node], ir.Value]:
        """Return the nodes in order, and the value that replaces the result."""
        x = self._op("Transpose", "frames_first", self._source, perm=FRAMES)
        x = self._output_transform(self._convolve(self._transform_time(x)))
        x = self._pool(x) if self.match.pool is not None else x
        x = self._op("Relu", "relu", x) if self.match.has_relu else x
        x = self._op("Transpose", "channels_first", x, perm=FRAMES)
        return self._builder.nodes, x

    @property
    def _tiles(self) -> int:
        """All tiles along time, of whole chunks."""
        return self.chunks * self.chunk_tiles

    def _transform_time(self, x: ir.Value) -> ir.Value:
        """(N, T, C, H, W) -> (N T', a C, H, W)."""
        frames, height, width = self.match.size
        row = self.match.inputs * height * width
        x = self._reshape(x, "time.rows", -1, frames, row)
        tiles, points = self.chunk_tiles, self.time.points
        if self.chunks == 1:
            read = [range(frames)]
        else:
            step, length = tiles * self.time.outputs, tiles * self.time.outputs + self.time.inputs - self.time.outputs
            starts = [min(max(0, chunk * step - self.lead), frames - length) for chunk in range(self.chunks)]
            read = [range(start, start + length) for start in starts]
            indices = self._builder.integers(f"winograd.frames.{length}", [frame for part in read for frame in part])
            x = self._op("Gather", "time.overlapping", x, indices, axis=1)
            x = self._reshape(x, "time.chunks", -1, self.chunks, length, row)
        matrices = [
            time_matrix(self.time, chunk * tiles, tiles, part, self.lead).transpose(1, 0, 2)
            for chunk, part in enumerate(read)
        ]
        shape = (tiles * points, -1) if self.chunks == 1 else (self.chunks, tiles * points, -1)
        matrix = self._matrix(f"time.{points}.tiles.{self._tiles}", np.stack(matrices).reshape(*shape))
        x = self._op("MatMul", "time", matrix, x)
        return self._reshape(x, "points", -1, points * self.match.inputs, height, width)

    def _convolve(self, x: ir.Value) -> ir.Value:
        """(N T', a C, H, W) -> (N T', a K, H', W'), each point with its own weights."""
        pads = [*self.match.window.before[1:], *self.match.window.after[1:]]
        biases = [] if self._bias is None else [self._spread_bias(self._bias)]
        weights = self._weights()
        return self._op(
            "Conv",
            "product",
            x,
            weights,
            *biases,
            group=self.time.points,
            kernel_shape=list(self.match.window.kernel[1:]),
            pads=pads,
        )

    def _weights(self) -> ir.Value:
        """Return the transformed weights, (a K, C, 3, 3), or (a K, C, 1, 1)."""
        weight, trained = self._weight, read_array(self._weight)
        outputs, inputs, taps, *kernel = trained.shape
        points = self.time.points
        shape = (points * outputs, inputs, *kernel)
        if self.precomputed:
            return self._store_weights(frame_weights(self.time, trained))
        rows = self._reshape(weight, "weight.taps", outputs, inputs, taps, int(np.prod(kernel)))
        rows = self._op("MatMul", "weight", self._matrix(f"weight.time.{points}", self.time.weight), rows)
        rows = self._op("Transpose", "weight.points", rows, perm=[2, 0, 1, 3])
        return self._reshape(rows, "weight.filters", *shape)

    def _spread_bias(self, bias: ir.Value) -> ir.Value:
        """Return the bias of the grouped convolution, (a K,), whose output transform is the bias."""
        spread = np.linalg.pinv(self.time.output) @ np.ones((self.time.outputs, 1))  # (a, 1)
        row = self._reshape(bias, "bias.row", 1, self.match.outputs)
        product = self._op("MatMul", "bias", self._matrix(f"bias.{self.time.points}", spread), row)
        return self._reshape(product, "bias.points", self.time.points * self.match.outputs)

    def _output_transform(self, x: ir.Value) -> ir.Value:
        """(N T', a K, H', W') -> (N, T, K, H', W')."""
        frames, height, width = self.match.convolved
        x = self._reshape(x, "output.rows", -1, self.time.points, self.match.outputs * height * width)
        x = self._op("MatMul", "output.time", self._matrix(f"output.time.{self.time.points}", self.time.output), x)
        made = self._tiles * self.time.outputs
        x = self._reshape(x, "volume", -1, made, self.match.outputs, height, width)
        if made == frames:
            return x
        numbers = self._builder.integers
        starts, axes = numbers("winograd.first_frame", [0]), numbers("winograd.frame_axis", [1])
        return self._op("Slice", "crop", x, starts, numbers(f"winograd.end.{frames}", [frames]), axes)

    def _pool(self, x: ir.Value) -> ir.Value:
        """Take the maximum over pairs of frames, if the window has two, then over 2x2 windows of each frame."""
        (_, height, width), (frames, rows, columns) = self.match.convolved, self.match.pooled
        outputs = self.match.outputs
        if self.match.pool_window[0] > 1:
            x = self._max(self._reshape(x, "pool.pairs", -1, 2, outputs * height * width), "pool.time")
        x = self._reshape(x, "pool.images", -1, outputs, height, width)
        x = self._op("MaxPool", "pool.space", x, kernel_shape=[2, 2], strides=[2, 2])
        return self._reshape(x, "pooled", -1, frames, outputs, rows, columns)
