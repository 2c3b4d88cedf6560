"""Preprocessing in front of a graph returns what the origin's library and the network in float64 return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from helpers.profile_origins import FRAME_SIZES, ORIGINS, Clip, Frames
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from exporter.formats.onnx_preprocess.nodes import CLIP_VALUE, add_preprocessing
from exporter.types import DEFAULT_OPSET, MAX_OPSET
from models.preprocessing.module import PreprocessingModule
from models.preprocessing.profiles import CAFFE, MMACTION2
from models.preprocessing.recipe import Preprocessing

SIZE = (2, 112, 112)
SIDE = 14
"""Columns and rows of the convolution's output."""


def weights() -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(3)
    shapes = {"conv": (4, 3, 2, 9, 9), "fc": (5, 4 * SIDE * SIDE)}
    return {name: random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}


def small_graph(opset: int = DEFAULT_OPSET) -> ir.Model:
    """Return a convolution, ReLU and a linear layer: clip (batch, 3, 2, 112, 112) -> logits (batch, 5)."""
    nodes = [
        helper.make_node("Conv", ["clip", "conv"], ["maps"], strides=[1, 8, 8], pads=[0, 1, 1, 0, 0, 0]),
        helper.make_node("Relu", ["maps"], ["relu"]),
        helper.make_node("Flatten", ["relu"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc"], ["logits"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["batch", 3, *SIZE])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])]
    held = [numpy_helper.from_array(value, name) for name, value in weights().items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, held)
    version = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version))


def expected_logits(clip: Clip) -> NDArray[np.float64]:
    """Return the small network's outputs in float64 for clips (N, 3, 2, 112, 112)."""
    conv, fc = (torch.from_numpy(value).double() for value in weights().values())
    maps = F.conv3d(F.pad(torch.from_numpy(clip), (1, 0, 1, 0)), conv, stride=(1, 8, 8))
    return F.linear(torch.flatten(F.relu(maps), 1), fc).numpy()


def with_front(
    profile: Preprocessing, opset: int = DEFAULT_OPSET, mean: NDArray[np.float32] | None = None
) -> onnx.ModelProto:
    model = small_graph(opset)
    cube = None if mean is None else torch.from_numpy(mean)
    add_preprocessing(model, PreprocessingModule(profile, SIZE, cube), "frames")
    return ir.to_proto(model)


def open_model(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, frames: Frames, output: str = "logits") -> NDArray[np.float32]:
    return np.asarray(session.run([output], {"frames": frames})[0])


def draw(height: int, width: int, batch: int = 1) -> Frames:
    return np.random.default_rng(height * width).integers(0, 256, (batch, 2, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("profile", "origin", "_tolerance"), ORIGINS, ids=lambda value: getattr(value, "name", ""))
def test_frames_of_any_size_give_the_outputs_of_the_origins_clip(
    profile: Preprocessing, origin: Callable[[Frames], Clip], _tolerance: float
) -> None:
    session = open_model(with_front(profile))
    for height, width in FRAME_SIZES:
        frames = draw(height, width)
        expected = expected_logits(origin(frames[0]).transpose(3, 0, 1, 2)[np.newaxis])
        logits = run(session, frames)
        assert np.abs(logits - expected).max() <= 3e-6 * np.abs(expected).max(), (height, width)


@pytest.mark.parametrize(
    "profile", [row[0] for row in ORIGINS if row[0].interpolation == "opencv"], ids=lambda p: p.name
)
def test_pixels_are_opencvs_bit_for_bit_next_to_ties_of_the_rounding(profile: Preprocessing) -> None:
    origin = {row[0].name: row[1] for row in ORIGINS}[profile.name]
    plain = replace(profile, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=1.0)
    offset = origin(np.zeros((2, 128, 171, 3), np.uint8))  # what the origin makes of black pixels
    factor = origin(np.full((2, 128, 171, 3), 255, np.uint8)) - offset
    model = with_front(plain)
    model.graph.output.append(helper.make_tensor_value_info(CLIP_VALUE, TensorProto.FLOAT, ["batch", 3, *SIZE]))
    session = open_model(model)
    for height, width in ((240, 320), (213, 127), (256, 342), (97, 1999)):
        grey = np.random.default_rng(width).integers(0, 255, (2, height, width, 3))
        frames = (grey - grey % 8 + np.indices((height, width)).sum(0)[..., np.newaxis] % 2).astype(np.uint8)
        pixels = np.rint((origin(frames) - offset) / factor * 255)
        clip = run(session, frames[np.newaxis], CLIP_VALUE)
        assert np.array_equal(clip[0], pixels.transpose(3, 0, 1, 2))


def test_a_mean_cube_is_subtracted_pixel_by_pixel() -> None:
    cube = np.random.default_rng(0).uniform(60, 140, (3, *SIZE)).astype(np.float32)
    origin = next(row[1] for row in ORIGINS if row[0] == CAFFE)
    frames = draw(240, 320)
    without = origin(frames[0]).transpose(3, 0, 1, 2) + np.reshape(CAFFE.mean, (3, 1, 1, 1))
    expected = expected_logits((without - cube)[np.newaxis])
    logits = run(open_model(with_front(CAFFE, mean=cube)), frames)
    assert np.abs(logits - expected).max() <= 3e-6 * np.abs(expected).max()


def test_items_of_a_batch_are_independent() -> None:
    session, frames = open_model(with_front(MMACTION2)), draw(144, 176, batch=3)
    together = run(session, frames)
    for item in range(3):
        alone = run(session, frames[item : item + 1])
        np.testing.assert_allclose(together[item], alone[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("opset", [17, 21, MAX_OPSET])
@pytest.mark.parametrize("profile", [row[0] for row in ORIGINS], ids=lambda profile: profile.name)
def test_every_opset_has_the_operators(profile: Preprocessing, opset: int) -> None:
    model = with_front(profile, opset)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    (clip,) = [value for value in inferred.graph.value_info if value.name == CLIP_VALUE]
    assert [size.dim_param or size.dim_value for size in clip.type.tensor_type.shape.dim] == ["batch", 3, *SIZE]


def test_the_input_is_frames_and_every_new_name_says_preprocess() -> None:
    before = {node.name for node in ir.to_proto(small_graph()).graph.node}
    model = with_front(MMACTION2)
    (frames,) = model.graph.input
    assert frames.name == "frames"
    assert frames.type.tensor_type.elem_type == TensorProto.UINT8
    sizes = [size.dim_param or size.dim_value for size in frames.type.tensor_type.shape.dim]
    assert sizes == ["batch", 2, "height", "width", 3]
    added = [node for node in model.graph.node if node.name not in before]
    assert all(node.name.startswith("preprocess.") for node in added)
    constants = {tensor.name for tensor in model.graph.initializer} - set(weights())
    assert all(name.startswith(("preprocess.", "shape.")) for name in constants)
    assert with_front(MMACTION2) == model  # the same again
