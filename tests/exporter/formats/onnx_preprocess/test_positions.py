"""Positions and weights along an axis equal those of OpenCV, torch and scikit-image, in float64 evaluation too."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.engines.base import RuntimeOptions
from exporter.engines.onnx_reference import FloatGraph
from exporter.formats.onnx_preprocess.positions import WEIGHT_ONE, Axis, Window
from exporter.passes.builder import Builder
from models.preprocessing.recipe import Interpolation

NAMES = ("low", "high", "before", "after")
COUNT = 24
Taps = dict[str, NDArray[np.float64]]


def taps_graph(interpolation: Interpolation) -> bytes:
    """Return a graph of size, resized length and first pixel (1,) -> the taps of 24 pixels."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in ("size", "resized", "first")]
    model = ir.from_proto(
        helper.make_model(
            helper.make_graph([], "axis", inputs, []), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        )
    )
    build = Builder(model, "preprocess")
    size, resized, first = model.graph.inputs
    taps = Axis(build, "rows").taps(Window(size, resized, first, COUNT), interpolation)
    model.graph.extend(build.nodes)
    dtype = ir.DataType.INT64 if interpolation == "opencv" else ir.DataType.FLOAT
    for name, value in zip(NAMES, (taps.low, taps.high, taps.before, taps.after), strict=True):
        value.name = name
        value.type = ir.TensorType(ir.DataType.INT64 if name in ("low", "high") else dtype)
        value.shape = ir.Shape([COUNT])
        model.graph.outputs.append(value)
    return ir.to_proto(model).SerializeToString()


def run(session: onnxruntime.InferenceSession, size: int, resized: int, first: int) -> Taps:
    feeds = {"size": size, "resized": resized, "first": first}
    outputs = session.run(NAMES, {name: np.array([value]) for name, value in feeds.items()})
    return dict(zip(NAMES, map(np.asarray, outputs), strict=True))


def draw_sizes() -> list[tuple[int, int, int]]:
    """Return (source size, resized size, first pixel): what profiles have, extremes, and random ones."""
    random = np.random.default_rng(0)
    fixed = [
        (320, 171, 29),
        (240, 128, 8),
        (1, 128, 8),
        (8192, 128, 0),
        (7, 2047, 2000),
        (171, 171, 30),
        (342, 171, 29),
    ]
    drawn = [(int(random.integers(1, 8193)), int(random.integers(COUNT, 600))) for _ in range(300)]
    return [*fixed, *((size, resized, int(random.integers(0, resized - COUNT + 1))) for size, resized in drawn)]


def test_opencvs_weights_are_integers_for_every_size() -> None:
    session = onnxruntime.InferenceSession(taps_graph("opencv"), providers=["CPUExecutionProvider"])
    for size, resized, first in draw_sizes():
        scale = 1.0 / (resized / size)  # resize.cpp: two roundings in double, then float
        position = ((first + np.arange(COUNT) + 0.5) * scale - 0.5).astype(np.float32)
        low = np.floor(position)
        weight = np.rint((position - low) * np.float32(WEIGHT_ONE)).astype(np.int64)
        taps = run(session, size, resized, first)
        assert np.array_equal(taps["before"] + taps["after"], np.full(COUNT, WEIGHT_ONE))
        # a whole weight is the next pixel alone, on either side of it
        whole = np.where(weight == WEIGHT_ONE, low + 1, low).astype(np.int64)
        found = np.where(taps["after"] == WEIGHT_ONE, taps["high"], taps["low"])
        assert np.array_equal(found, np.clip(whole, 0, size - 1)), (size, resized, first)
        assert np.array_equal(taps["after"] % WEIGHT_ONE, weight % WEIGHT_ONE), (size, resized, first)


def torch_taps(size: int, resized: int, first: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    scale = np.float32(size) / np.float32(resized)
    position = np.maximum(scale * (first + np.arange(COUNT, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    low = np.floor(position)
    return low.astype(np.int64), (position - low).astype(np.float32)


def test_torchs_positions_are_float32_in_the_float64_reference_too(tmp_path: Path) -> None:
    (tmp_path / "axis.onnx").write_bytes(graph := taps_graph("torch"))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    with FloatGraph(tmp_path / "axis.onnx", RuntimeOptions()) as reference:
        for size, resized, first in draw_sizes()[:60]:
            low, after = torch_taps(size, resized, first)
            taps = run(session, size, resized, first)
            feeds = {"size": size, "resized": resized, "first": first}
            exact = reference.run({name: np.array([value]) for name, value in feeds.items()})
            for found in (taps, exact):
                assert np.array_equal(found["low"], np.clip(low, 0, size - 1))
                assert np.array_equal(found["after"], after)
            assert exact["after"].dtype == np.float64


@pytest.mark.parametrize(("size", "resized", "first"), [(320, 200, 44), (50, 200, 0), (1, 112, 0), (240, 112, 88)])
def test_scikit_images_weights_are_0_beyond_the_edges(size: int, resized: int, first: int) -> None:
    session = onnxruntime.InferenceSession(taps_graph("skimage"), providers=["CPUExecutionProvider"])
    position = (first + np.arange(COUNT) + 0.5) * size / resized - 0.5
    low = np.floor(position)
    taps = run(session, size, resized, first)
    inside = (low >= 0) & (low <= size - 1), (low + 1 >= 0) & (low + 1 <= size - 1)
    assert np.abs(taps["before"] - np.where(inside[0], low + 1 - position, 0)).max() < 1e-6
    assert np.abs(taps["after"] - np.where(inside[1], position - low, 0)).max() < 1e-6
