"""ONNX files in float16: names and types, what stays in float32 and why, layers raised until it is accurate enough."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.manifests import MANIFEST
from numpy.typing import NDArray
from onnx import TensorProto
from torch import nn

from exporter.artifacts.manifest import describe_network
from exporter.calibration_clips import CalibrationClips
from exporter.engines.base import RuntimeOptions
from exporter.engines.float16_emulation import Float16Emulation
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.formats import FORMATS
from exporter.formats.base import Attempt, WriteRequest, WriteResult
from exporter.formats.held_out import HeldOut, snr_db
from exporter.types import DEFAULT_OPSET, OptimizeOptions, PrecisionOptions, Target
from models.built_model import BuiltModel
from models.specs import OutputSpec, TensorSpec

SHAPE = (3, 4, 12, 12)
HALF = TensorProto.FLOAT16


class Volumes(nn.Module):
    """Two convolutions with batch normalisation after the first, and a linear layer; `gain` scales what is between."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv3d(3, 8, 3, padding=1), nn.Conv3d(8, 8, 3, padding=1)
        self.norm, self.pool, self.linear = nn.BatchNorm3d(8), nn.MaxPool3d(2), nn.Linear(8 * 2 * 6 * 6, 5)
        self.conv1.weight.data *= gain
        self.conv1.bias.data *= gain  # pyright: ignore[reportOptionalMemberAccess]
        self.conv2.weight.data /= gain

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.pool(torch.relu(self.norm(self.conv1(x))))
        scores = self.linear(torch.relu(self.conv2(x)).flatten(1))
        return scores, scores.softmax(1)


def built(gain: float = 1.0) -> BuiltModel:
    outputs = (OutputSpec("scores", (5,)), OutputSpec("shares", (5,)))
    return BuiltModel(Volumes(gain).eval(), TensorSpec("volume", "float32", ("batch", *SHAPE)), outputs)


def clips(*shape: int) -> CalibrationClips:
    drawn = np.random.default_rng(0).standard_normal((6, *shape), dtype=np.float32)
    return CalibrationClips(drawn[:4], drawn[4:], ("a", "b"), "noise", "0" * 64)


def write(folder: Path, model: BuiltModel, min_snr: float = 55.0, target: Target = "portable") -> WriteResult:
    """Write the first candidate."""
    folder.mkdir(exist_ok=True)
    draft = replace(
        MANIFEST, name="m", network=describe_network(model, ""), signature=model.signature(), preprocessing=None
    )
    wanted = PrecisionOptions("fp16", min_snr)
    request = WriteRequest("m", draft, DEFAULT_OPSET, OptimizeOptions(target), wanted, clips(*SHAPE))
    return next(FORMATS["onnx"].candidates(model, request)).write(Attempt(folder))


def snr(model: BuiltModel, path: Path, held: NDArray[Any]) -> float:
    with Float16Emulation(path, RuntimeOptions()) as runtime:
        return HeldOut(model, [output.name for output in model.outputs], held).lowest_snr(runtime)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> WriteResult:
    return write(tmp_path_factory.mktemp("plain"), built())


def layer_types(path: Path) -> dict[str, int]:
    """{layer: element type of its weight}."""
    held = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    return {name.removesuffix(".weight"): kind for name, kind in held.items() if name.endswith(".weight")}


def test_inputs_outputs_and_names_are_those_of_the_float32_file(plain: WriteResult) -> None:
    model = onnx.load(plain.files[0])
    onnx.checker.check_model(model, full_check=True)
    ports = [(port.name, port.type.tensor_type.elem_type) for port in (*model.graph.input, *model.graph.output)]
    assert ports == [(name, TensorProto.FLOAT) for name in ("volume", "scores", "shares")]
    assert model.opset_import[0].version == DEFAULT_OPSET
    assert layer_types(plain.files[0]) == dict.fromkeys(("conv1", "conv2", "linear"), HALF)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Cast") == 2
    assert "BatchNormalization" not in operators
    assert {"conv1", "conv2", "linear"} < {node.name for node in model.graph.node}


def test_it_is_as_accurate_as_asked_for_on_clips_that_nothing_was_measured_on(plain: WriteResult) -> None:
    assert 55 <= snr(built(), plain.files[0], clips(*SHAPE).held_out) < 90  # float32 would have 120
    assert "raised_layers" not in plain.manifest.options


def test_for_cuda_it_has_another_first_layer_and_is_as_accurate(plain: WriteResult, tmp_path: Path) -> None:
    result = write(tmp_path, built(), target="cuda")
    assert result.manifest.options["target"] == "cuda"
    passes = result.manifest.options["passes"]
    assert isinstance(passes, list)
    assert passes[-2:] == ["tensor-core-stem", "pool-before-bias"]
    assert layer_types(result.files[0]) == layer_types(plain.files[0])
    held = clips(*SHAPE).held_out
    assert snr(built(), result.files[0], held) == pytest.approx(snr(built(), plain.files[0], held), abs=1.5)
    convolutions = [node for node in onnx.load(result.files[0]).graph.node if node.op_type == "Conv"]
    assert [len(onnx.helper.get_node_attr_value(node, "kernel_shape")) for node in convolutions] == [2, 3]


@pytest.mark.usefixtures("exported_anew")
def test_the_same_bytes_again(plain: WriteResult, tmp_path: Path) -> None:
    assert write(tmp_path, built()).files[0].read_bytes() == plain.files[0].read_bytes()


def test_a_layer_whose_result_overflows_stays_in_float32_and_is_named_with_the_largest_value(tmp_path: Path) -> None:
    model = built(2e5)
    result = write(tmp_path, model)
    assert layer_types(result.files[0]) == {"conv1": TensorProto.FLOAT, "conv2": TensorProto.FLOAT, "linear": HALF}
    network: Any = model.network
    with torch.inference_mode():
        values = network.norm(network.conv1(torch.from_numpy(clips(*SHAPE).calibration)))
    largest = float(values.abs().max())
    assert largest > 1e5
    named = result.manifest.options["float32_layers"]
    assert isinstance(named, list)
    assert [entry for entry in named if entry.startswith("conv1: its output") and f"{largest:.3g}" in entry]
    assert any("conv1" in note and f"{largest:.3g}" in note for note in result.notes)
    assert snr(model, result.files[0], clips(*SHAPE).held_out) >= 55


def test_layers_are_raised_until_it_is_accurate_enough(plain: WriteResult, tmp_path: Path) -> None:
    required = snr(built(), plain.files[0], clips(*SHAPE).held_out) + 1
    result = write(tmp_path, built(), min_snr=required)
    raised = result.manifest.raised_layers
    assert 0 < len(raised) < 3
    assert {name for name, kind in layer_types(result.files[0]).items() if kind == TensorProto.FLOAT} == {*raised}
    assert snr(built(), result.files[0], clips(*SHAPE).held_out) >= required


@pytest.mark.cuda
def test_a_gpu_returns_what_the_emulation_returns(plain: WriteResult) -> None:
    """onnxruntime's CUDA provider is as accurate as the emulation to half a decibel, torch in float16 to 6."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU and a CUDA build of torch")
    held, model = clips(*SHAPE).held_out, built()
    emulated = snr(model, plain.files[0], held)
    held_out = HeldOut(model, ["scores"], held)
    with OnnxRuntime(plain.files[0], RuntimeOptions("cuda")) as runtime:
        assert runtime.placement.fallback_nodes == ()
        assert abs(held_out.lowest_snr(runtime) - emulated) < 0.5
    half = Volumes(1.0).eval().half().cuda()
    with torch.inference_mode():
        scores = [half(torch.from_numpy(clip[np.newaxis]).half().cuda())[0].float().cpu().numpy() for clip in held]
    lowest = min(snr_db(found, exact["scores"]) for found, exact in zip(scores, held_out.float64, strict=True))
    assert abs(lowest - emulated) < 6


def test_without_clips_the_weights_decide(tmp_path: Path) -> None:
    model = built(1e-6)
    draft = replace(MANIFEST, name="m", network=describe_network(model, ""), signature=model.signature())
    request = WriteRequest("m", draft, DEFAULT_OPSET, precision=PrecisionOptions("fp16"))
    (only,) = FORMATS["onnx"].candidates(model, request)
    result = only.write(Attempt(tmp_path))
    assert layer_types(result.files[0]) == {"conv1": TensorProto.FLOAT, "conv2": TensorProto.FLOAT, "linear": HALF}
    first, second = result.manifest.options["float32_layers"]  # pyright: ignore
    assert str(first).startswith("conv1: its constant conv1.weight reaches only")
    assert str(second).startswith("conv2: its constant conv2.weight reaches")
