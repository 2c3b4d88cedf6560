"""The operators of one Winograd form, in order: transform the inputs, multiply, transform back.

Sizes below: N clips, C input and K output channels, (T, H, W) of the input. A tile gives `m` outputs from `n = m + 2`
inputs along an axis; `a` is its number of places in time (n, or 1 where time is not transformed), `s` those in space
(n x n), `P` the number of tiles. What decides the speed:

* **The input transform is a convolution** with fixed filters that moves by `m`: one operator pads, cuts overlapping
  tiles and transforms them. Channels and frames lie along an axis of the convolution whose kernel is 1, so that its
  output has the tile's places in front, which is the layout that batched matrix products want: nothing is transposed.
* **Time first, space second**: the transform in time widens the data by n/m before space is cut, not after.
* **The products are one MatMul**, batched over the `s a` places: (K, C) by (C, P). Where time is not transformed they
  are a grouped convolution along time, a group for each place.
* **The max pool comes before the tiles are put together**: tiles are even, so no window leaves one. The outputs of a
  tile are ordered so that the four of a window are neighbours, and pooling is a maximum over an axis of data that lies
  in long runs; an eighth of it is then interleaved.
* **Interleaving is DepthToSpace** with one channel, where rows of all channels and frames count as one tall picture:
  a third of the time of a general Transpose.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import add_initializer, constant, drop_unused, label, opset_of
from exporter.passes.winograd.cook_toom import TAPS, transforms
from exporter.passes.winograd.forms import PLAIN, Form
from exporter.passes.winograd.sites import IMAGE, Site

REDUCE_AXES_AS_INPUT = 18
"""The opset from which ReduceMax takes its axes as an input."""


@dataclass(frozen=True)
class Tiling:
    """How many tiles a form lays over a site, and by how much they hang over the far edges.

    Attributes:
        tiles: along (T, H, W).
        over: outputs beyond the convolution's own, along (T, H, W).
    """

    tiles: tuple[int, int, int]
    over: tuple[int, int, int]


def tiling(site: Site, form: Form) -> Tiling:
    """Lay `form` over `site`."""
    steps = (form.time, form.space, form.space)
    tiles = tuple(-(-size // step) for size, step in zip(site.convolved, steps, strict=True))
    over = tuple(tile * step - size for tile, step, size in zip(tiles, steps, site.convolved, strict=True))
    return Tiling((tiles[0], tiles[1], tiles[2]), (over[0], over[1], over[2]))


class Rewriting:
    """Builds the operators of one site in one form.

    Args:
        model: where constants are registered; those that do not depend on the weights are shared between sites.
        site: what is rewritten.
        form: into what.
        precomputed: keep the transformed weights in the file, which grows by them, instead of nodes that compute
            them from the weights as trained, which engines do once, when they load the model.
    """

    def __init__(self, model: ir.Model, site: Site, form: Form, *, precomputed: bool) -> None:
        self.model, self.site, self.form, self.precomputed = model, site, form, precomputed
        self.tiling = tiling(site, form)
        self.tape = ir.tape.Tape()
        self.name = label(site.conv)
        self.space = transforms(form.space)
        self.time = transforms(form.time) if form.time > PLAIN else None

    def build(self) -> tuple[list[ir.Node], ir.Value]:
        """Return the nodes in order, and the value that stands for the site's result."""
        source = self.site.conv.inputs[0]
        assert source is not None
        x = self._multiply(self._cut_space(self._cut_time(source)))
        x = self._together(self._pool(self._back(x)))
        return list(self.tape.nodes), x

    def _cut_time(self, x: ir.Value) -> ir.Value:
        """(N, C, T, H, W) -> (N, a, C, tiles of T, H W), or nothing to do."""
        if self.time is None:
            return x
        _, height, width = self.site.size
        n, m = self.time.points, self.time.outputs
        x = self._reshape(x, "time.rows", -1, 1, self.site.inputs, self.site.size[0], height * width)
        filters = self._shared(f"winograd.time.{m}", self.time.input.reshape(n, 1, 1, n, 1))
        pads = [0, self.site.before[0], 0, 0, self.site.after[0] + self.tiling.over[0], 0]
        return self._conv(x, "time", filters, [1, n, 1], strides=[1, m, 1], pads=pads)

    def _cut_space(self, x: ir.Value) -> ir.Value:
        """(N, a, C, tiles of T, H W) -> (N, s, a C T', tiles of H, tiles of W), T' tiles, or frames, of time."""
        _, height, width = self.site.size
        n, m = self.space.points, self.space.outputs
        x = self._reshape(x, "space.rows", -1, 1, self._rows, height, width)
        filters = self._shared(f"winograd.space.{m}", _square(self.space.input).reshape(n * n, 1, 1, n, n))
        (_, top, left), (_, bottom, right), (_, below, beside) = self.site.before, self.site.after, self.tiling.over
        pads = [0, top, left, 0, bottom + below, right + beside]
        return self._conv(x, "space", filters, [1, n, n], strides=[1, m, m], pads=pads)

    @property
    def _rows(self) -> int:
        times = self.tiling.tiles[0] if self.time is not None else self.site.size[0]
        return self.form.time_points * self.site.inputs * times

    @property
    def _places(self) -> int:
        """Return P: tiles of time (or its frames) x tiles of space."""
        times, rows, columns = self.tiling.tiles
        return times * rows * columns

    def _multiply(self, x: ir.Value) -> ir.Value:
        """(N, s, a C T', …) -> (N, s, a K P): summed over C, and over taps in time where these are not transformed."""
        site, form = self.site, self.form
        _, rows, columns = self.tiling.tiles
        if self.time is None and site.taps == TAPS:
            x = self._reshape(x, "frames", -1, form.space_points * site.inputs, site.size[0], rows, columns)
            pads = [site.before[0], 0, 0, site.after[0], 0, 0]
            return self._conv(x, "product", self._weights(), [TAPS, 1, 1], pads=pads, group=form.space_points)
        shape = (form.space_points * form.time_points, site.inputs, self._places)
        return self._op("MatMul", "product", self._weights(), self._reshape(x, "columns", -1, *shape))

    def _weights(self) -> ir.Value:
        """Return the transformed weights: (1, s a, K, C), or (s K, C, 3, 1, 1) for a grouped convolution.

        As nodes they are one convolution that moves over the taps as they lie in memory, a whole filter at a time: its
        output has the places of the tile in front, and no Transpose or Reshape copies it once more at load.
        """
        site, form = self.site, self.form
        weight = site.conv.inputs[1]
        tensor = constant(weight)
        assert weight is not None
        assert tensor is not None
        grouped = self.time is None and site.taps == TAPS
        matrix = _square(self.space.weight)  # (s, 9)
        if self.time is not None:
            matrix = np.einsum("at,sf->satf", self.time.weight, matrix).reshape(-1, TAPS * TAPS * TAPS)  # (s a, 27)
        places, taps = matrix.shape
        spread = (form.space_points * site.outputs, site.inputs, TAPS, 1, 1)
        if self.precomputed:
            held = matrix @ np.asarray(tensor.numpy(), dtype=np.float64).reshape(-1, taps).T
            shape = spread if grouped else (1, places, site.outputs, site.inputs)
            return add_initializer(
                self.model, f"{weight.name}.winograd", ir.tensor(held.reshape(shape).astype(np.float32))
            )
        kind = f"{form.time}.{form.space}" if self.time is not None else f"{form.space}"
        rows = self._reshape(weight, "weight.taps", 1, 1, site.outputs, -1)
        filters = self._shared(f"winograd.weight.{kind}", matrix.reshape(places, 1, 1, taps))
        held = self._op("Conv", "weight", rows, filters, kernel_shape=[1, taps], strides=[1, taps])
        return self._reshape(held, "weight.groups", *spread) if grouped else held

    def _back(self, x: ir.Value) -> ir.Value:
        """(N, s, a K P) -> (N, outputs of space, outputs of time, K P)."""
        channels = self.site.outputs * self._products_places
        m = self.space.outputs
        order = _window_order(m) if self.site.pool is not None else list(range(m * m))
        back = self._shared(
            f"winograd.back.{m}{'.pool' if self.site.pool is not None else ''}", _square(self.space.output)[order]
        )
        x = self._reshape(x, "back.columns", -1, self.form.space_points, self.form.time_points * channels)
        x = self._op("MatMul", "back.space", back, x)
        if self.time is None:
            return x
        x = self._reshape(x, "back.places", -1, m * m, self.time.points, channels)
        back = self._shared(f"winograd.back.time.{self.time.outputs}", self.time.output)
        return self._op("MatMul", "back.time", back, x)

    @property
    def _products_places(self) -> int:
        """Return the places of one channel behind the products: tiles, or frames of the output, x tiles of space."""
        times, rows, columns = self.tiling.tiles
        return (times if self.time is not None else self.site.convolved[0]) * rows * columns

    def _pool(self, x: ir.Value) -> ir.Value:
        """Take the maximum over each window: pairs of frames first, because that halves the data in one short step."""
        if self.site.pool is None:
            return x
        _, rows, columns = self.tiling.tiles
        channels, frames = self.site.outputs * self._products_places, self.form.time
        if self.site.window[0] > 1:
            if self.time is not None:
                x = self._reshape(x, "pool.pairs", -1, 2, channels)
                frames //= 2
            else:
                x = self._reshape(x, "pool.pairs", -1, 2, rows * columns)
                channels //= 2
            x = self._max(x, "pool.time")
        x = self._reshape(x, "pool.windows", -1, 4, frames * channels)
        return self._max(x, "pool.space")

    def _together(self, x: ir.Value) -> ir.Value:
        """Interleave the tiles, cut what hangs over, and add bias and ReLU: the site's result."""
        site = self.site
        tiles = self.tiling.tiles
        frames = self.form.time // site.window[0] if self.time is not None else 1
        step = self.form.space // site.window[1]
        times = tiles[0] if self.time is not None else site.convolved[0] // site.window[0]
        if frames > 1:
            x = self._reshape(x, "frames.tiles", -1, step * step, frames, site.outputs * times, tiles[1] * tiles[2])
            x = self._op("Transpose", "frames.interleave", x, perm=[0, 1, 3, 2, 4])
        times *= frames
        if step > 1:
            x = self._reshape(x, "pixels.tiles", -1, step * step, site.outputs * times * tiles[1], tiles[2])
            x = self._op("DepthToSpace", "pixels.interleave", x, blocksize=step)
        made = (times, tiles[1] * step, tiles[2] * step)
        x = self._reshape(x, "volume", -1, site.outputs, *made)
        if made != site.result:
            x = self._slice(x, site.result)
        x = self._with_bias(x)
        if site.rank == IMAGE:
            x = self._reshape(x, "picture", -1, site.outputs, *site.result[1:])
        return self._op("Relu", "relu", x) if site.relu is not None else x

    def _with_bias(self, x: ir.Value) -> ir.Value:
        bias = self.site.conv.inputs[2] if len(self.site.conv.inputs) > 2 else None  # noqa: PLR2004 - x, weight, bias
        if bias is None:
            return x
        return self._op("Add", "bias", x, self._reshape(bias, "bias.channels", 1, self.site.outputs, 1, 1, 1))

    def _slice(self, x: ir.Value, size: tuple[int, int, int]) -> ir.Value:
        starts = self._integers("winograd.starts", [0, 0, 0])
        axes = self._integers("winograd.axes", [2, 3, 4])
        return self._op("Slice", "cut", x, starts, self._integers(f"{self.name}.cut.ends", size), axes)

    def _max(self, x: ir.Value, step: str) -> ir.Value:
        """Take the maximum over axis 1."""
        if opset_of(self.model) >= REDUCE_AXES_AS_INPUT:
            return self._op("ReduceMax", step, x, self._integers("winograd.pooled", [1]), keepdims=0)
        return self._op("ReduceMax", step, x, axes=[1], keepdims=0)

    def _conv(
        self, x: ir.Value, step: str, weight: ir.Value, kernel: list[int], *, pads: list[int],
        strides: list[int] | None = None, group: int = 1,
    ) -> ir.Value:  # fmt: skip
        return self._op(
            "Conv", step, x, weight, kernel_shape=kernel, pads=pads, strides=strides or [1, 1, 1], group=group
        )

    def _reshape(self, x: ir.Value, step: str, *shape: int) -> ir.Value:
        name = "winograd.shape." + ".".join("n" if size < 0 else str(size) for size in shape)
        return self._op("Reshape", step, x, self._integers(name, shape))

    def _op(self, operator: str, step: str, *inputs: ir.Value, **attributes: "int | list[int]") -> ir.Value:
        value = self.tape.op(operator, inputs, attributes, name=f"{self.name}.{step}")
        value.name = f"{self.name}.{step}.out"
        return value

    def _shared(self, name: str, matrix: NDArray[np.float64]) -> ir.Value:
        known = self.model.graph.initializers.get(name)
        return known or add_initializer(self.model, name, ir.tensor(matrix.astype(np.float32)))

    def _integers(self, name: str, values: "list[int] | tuple[int, ...]") -> ir.Value:
        known = self.model.graph.initializers.get(name)
        return known or add_initializer(self.model, name, ir.tensor(np.array(values, np.int64)))


def replace_site(model: ir.Model, site: Site, form: Form, *, precomputed: bool) -> None:
    """Put the operators of `form` in the place of the site's, under the same name of the result; see `Rewriting`."""
    old = site.nodes
    nodes, value = Rewriting(model, site, form, precomputed=precomputed).build()
    constants = list(site.conv.inputs[1:])
    ir.convenience.replace_nodes_and_values(model.graph, old[-1], old, nodes, [old[-1].outputs[0]], [value])
    drop_unused(model, constants)


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
