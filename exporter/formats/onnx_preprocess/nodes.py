"""The nodes from decoded frames to the network's clip, and how they are put before a graph.

*Given* frames (N, T, H, W, 3) of uint8, *result* the clip (N, 3, T, h, w) in float32. Only the window's pixels are
computed: two rows of the frame are gathered for each of its rows, and two columns of these for each column.

OpenCV's bilinear resize of uint8, with weights of 11 bits (a along x, b along y) and integers throughout:

    S = a0 left + a1 right                                         for each of two rows
    pixel = ((S0 >> 4) b0 >> 16) + ((S1 >> 4) b1 >> 16) + 2 >> 2

*Algebra*: everything is computed in float32, where every step is exact: onnxruntime vectorises it best on CPUs, and
some engines divide integers as float32, which holds 24 bits. With weights a / 16 the sum is S / 16 < 2^15 with four
bits after the point, and its floor u is S >> 4. u b has 26 bits, so b = 64 h + l is split:

    u b >> 16 = floor((u h + floor(u l / 64)) / 1024)              u h < 2^20, u l < 2^21

*Source*: OpenCV, modules/imgproc/src/resize.cpp, HResizeLinear and VResizeLinear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from exporter.formats.onnx_preprocess.positions import FLOAT, INT64, Axis, Taps, Window
from exporter.passes.builder import Builder
from models.preprocessing.recipe import ROUNDING_TERMS

if TYPE_CHECKING:
    from models.preprocessing.module import PreprocessingModule

PREFIX = "preprocess"
CLIP_VALUE = f"{PREFIX}.normalize.out"
"""The value that the network takes instead of its own input, named like the layer of the module that computes it."""
ROW_AXIS, COLUMN_AXIS = 2, 3
"""Axes of frames (N, T, H, W, 3)."""
SUM_SCALE, LOW_SCALE, HIGH_SCALE, RESULT_SCALE = 16, 64, 1024, 4
DOUBLE = ir.DataType.DOUBLE


def add_preprocessing(model: ir.Model, module: PreprocessingModule, name: str) -> None:
    """Put preprocessing before a model, in place: its only input becomes frames, (N, T, height, width, 3) uint8.

    The nodes and their values are named `preprocess.…`; the clip is `CLIP_VALUE`.

    Args:
        model: it has one input, the clip (N, 3, T, h, w).
        module: the preprocessing; its clips have the size that the model takes.
        name: the new input's name.
    """
    (clip,) = model.graph.inputs
    assert clip.shape is not None
    shape = ir.Shape([clip.shape[0], module.size[0], "height", "width", 3])
    frames = ir.Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.UINT8))
    model.graph.inputs[0] = frames
    emitter = _Emitter(Builder(model, PREFIX), module)
    result = emitter.emit(frames)
    result.name, result.shape, result.type = CLIP_VALUE, clip.shape, clip.type
    ir.convenience.replace_all_uses_with(clip, result)
    first = next(iter(model.graph), None)
    if first is None:
        model.graph.extend(emitter.build.nodes)
    else:
        model.graph.insert_before(first, emitter.build.nodes)


class _Emitter:
    """Emits the nodes of the preprocessing."""

    def __init__(self, build: Builder, module: PreprocessingModule) -> None:
        self.build, self.module = build, module
        self._x, self._y = Axis(build, "columns"), Axis(build, "rows")

    def emit(self, frames: ir.Value) -> ir.Value:
        """Return the clip of frames."""
        rows, columns = self._windows(frames)
        kind = self.module.preprocessing.interpolation
        down, across = self._y.taps(rows, kind), self._x.taps(columns, kind)
        blended = self._blend_integers(frames, down, across) if kind == "opencv" else self._blend(frames, down, across)
        return self._normalize(blended)

    def _windows(self, frames: ir.Value) -> tuple[Window, Window]:
        """Return the rows and the columns that are computed."""
        op, number = self.build.op, self._x.number
        sizes = op("Shape", "shape", frames)
        height = op("Gather", "height", sizes, number(ROW_AXIS), axis=0)
        width = op("Gather", "width", sizes, number(COLUMN_AXIS), axis=0)
        new_height, new_width = self._resized(height, width)
        _, rows, columns = self.module.size
        crop = self.module.preprocessing.crop
        if crop is not None:
            top, left = map(number, crop)
        else:
            top, left = self._centre(new_height, rows, "top"), self._centre(new_width, columns, "left")
        return Window(height, new_height, top, rows), Window(width, new_width, left, columns)

    def _resized(self, height: ir.Value, width: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return the height and width that frames are resized to."""
        profile, op, number = self.module.preprocessing, self.build.op, self._x.number
        if not isinstance(profile.resize, int):
            return number(profile.resize[1]), number(profile.resize[0])
        # in float64, as origins compute it: a length that is exact may be rounded down by float64's error
        short = number(profile.resize)
        least = op("Cast", "short", op("Min", "short.integer", height, width), to=int(DOUBLE))
        scale = op("Div", "scale", number(profile.resize, np.float64), least)
        add = number(ROUNDING_TERMS[profile.rounding], np.float64)
        wide = op("Greater", "wide", width, height)

        def length(side: ir.Value, name: str) -> ir.Value:
            exact = op("Mul", f"{name}.exact", op("Cast", f"{name}.double", side, to=int(DOUBLE)), scale)
            rounded = op("Floor", f"{name}.floor", op("Add", f"{name}.added", exact, add))
            return op("Cast", f"{name}.long", rounded, to=int(INT64))

        return (
            op("Where", "height.resized", wide, short, length(height, "height")),
            op("Where", "width.resized", wide, length(width, "width"), short),
        )

    def _centre(self, resized: ir.Value, count: int, name: str) -> ir.Value:
        room = self.build.op("Sub", f"{name}.room", resized, self._x.number(count))
        return self.build.op("Div", name, room, self._x.number(2))

    def _blend_integers(self, frames: ir.Value, down: Taps, across: Taps) -> ir.Value:
        """Return the window's pixels as OpenCV rounds them: (N, T, h, 3 w), float32."""
        op = self.build.op
        scale = self._x.number(SUM_SCALE, np.float32)
        a0, a1 = (
            self._repeat(op("Div", f"columns.{name}.scaled", self._x.to(weight, FLOAT, f"{name}.float"), scale), name)
            for name, weight in (("before", across.before), ("after", across.after))
        )
        products: list[ir.Value] = []
        for name, index, weight in (("upper", down.low, down.before), ("lower", down.high, down.after)):
            total = op("Floor", f"{name}.sum", self._across(frames, index, across, (a0, a1), name))
            high, low = self._split(weight, name)
            rest = op("Floor", f"{name}.low", op("Mul", f"{name}.low.product", total, low))
            rest = op("Mul", f"{name}.low.scaled", rest, self._x.number(1 / HIGH_SCALE, np.float32))
            product = op("Add", f"{name}.product", op("Mul", f"{name}.high.product", total, high), rest)
            products.append(op("Floor", name, product))
        quarter, half = self._x.number(1 / RESULT_SCALE, np.float32), self._x.number(0.5, np.float32)
        total = op("Mul", "sum.scaled", op("Add", "sum", *products), quarter)
        return op("Floor", "pixels", op("Add", "sum.rounding", total, half))

    def _split(self, weight: ir.Value, name: str) -> tuple[ir.Value, ir.Value]:
        """Return a weight's bits above the sixth in 1024ths, and the lower ones in 64ths: float32 (h, 1)."""
        op, low_scale = self.build.op, self._x.number(LOW_SCALE)
        high = op("Div", f"{name}.weight.high", weight, low_scale)
        low = op("Sub", f"{name}.weight.low", weight, op("Mul", f"{name}.weight.whole", high, low_scale))
        parts = ((high, HIGH_SCALE, f"{name}.weight.high"), (low, LOW_SCALE, f"{name}.weight.low"))
        high, low = (
            self._column(
                op(
                    "Div", f"{step}.scaled", self._x.to(part, FLOAT, f"{step}.float"), self._x.number(scale, np.float32)
                ),
                step,
            )
            for part, scale, step in parts
        )
        return high, low

    def _blend(self, frames: ir.Value, down: Taps, across: Taps) -> ir.Value:
        """Return the window's pixels in float32, not rounded: (N, T, h, 3 w)."""
        op = self.build.op
        weights = self._repeat(across.before, "before"), self._repeat(across.after, "after")
        upper, lower = (
            op("Mul", name, self._across(frames, index, across, weights, name), self._column(weight, f"{name}.weight"))
            for name, index, weight in (("upper", down.low, down.before), ("lower", down.high, down.after))
        )
        return op("Add", "pixels", upper, lower)

    def _across(
        self, frames: ir.Value, rows: ir.Value, across: Taps, weights: tuple[ir.Value, ir.Value], name: str
    ) -> ir.Value:
        """Return the weighted sums along x of some of the frames' rows: (N, T, h, 3 w), float32."""
        op = self.build.op
        taken = op("Gather", f"{name}.rows", frames, rows, axis=ROW_AXIS)
        products: list[ir.Value] = []
        for side, index, weight in (("left", across.low, weights[0]), ("right", across.high, weights[1])):
            pixels = op("Gather", f"{name}.{side}", taken, index, axis=COLUMN_AXIS)
            # colours and columns on one axis: engines are slow on an inner axis of 3
            flat = self.build.reshape(pixels, f"{name}.{side}.flat", 0, 0, 0, -1)
            products.append(
                op("Mul", f"{name}.{side}.product", op("Cast", f"{name}.{side}.float", flat, to=int(FLOAT)), weight)
            )
        return op("Add", f"{name}.blend", *products)

    def _repeat(self, weight: ir.Value, name: str) -> ir.Value:
        """Return a weight of each column for each of its colours: (w,) -> (3 w,)."""
        columns = self.module.size[2]
        index = self.build.integers(f"{PREFIX}.colours.{columns}", [i // 3 for i in range(3 * columns)])
        return self.build.op("Gather", f"columns.{name}.colours", weight, index, axis=0)

    def _column(self, weight: ir.Value, name: str) -> ir.Value:
        return self.build.op("Unsqueeze", f"{name}.column", weight, self._x.number(1))

    def _normalize(self, pixels: ir.Value) -> ir.Value:
        """Return the clip of a window's pixels: channel order, scale, mean, standard deviation."""
        op, module = self.build.op, self.module
        profile, (_, _, columns) = module.preprocessing, module.size
        clip = op(
            "Transpose",
            "channels_first",
            self.build.reshape(pixels, "colours", 0, 0, 0, columns, 3),
            perm=[0, 4, 1, 2, 3],
        )
        if profile.channels == "BGR":
            clip = op("Gather", "bgr", clip, self.build.integers(f"{PREFIX}.bgr", [2, 1, 0]), axis=1)
        std = np.reshape(profile.std, (1, 3, 1, 1, 1))
        factor, offset = profile.scale / std, module.mean.numpy()[np.newaxis].astype(np.float64) / std
        if np.any(factor != 1):
            clip = op("Mul", "scale", clip, self.build.constant(f"{PREFIX}.scale", factor.astype(np.float32)))
        if offset.any():
            clip = op("Sub", "mean", clip, self.build.constant(f"{PREFIX}.mean", offset.astype(np.float32)))
        return clip
