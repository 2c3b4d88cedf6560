"""`--format onnx --precision int8`: what the file computes, what it is made of, and how ranges and layers are chosen."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from exporter.artifacts.manifest import Manifest, describe_network
from exporter.artifacts.manifest_fields import MANIFEST_VERSION, RAISED_LAYERS
from exporter.calibration_clips import CalibrationClips
from exporter.errors import ArtifactError, UsageError
from exporter.formats import onnx_int8
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.onnx import OnnxFormat
from exporter.formats.onnx_graph import NetworkGraph
from exporter.formats.onnx_int8 import INT8_VARIANT, INT8_VARIANTS, RANGE_METHOD, RANGE_METHODS
from exporter.passes import autotune
from exporter.passes.quantize import ranges
from exporter.types import OptimizeOptions, PrecisionOptions
from models import BuiltModel, OutputSpec, TensorSpec

SHAPE = (2, 4, 8, 8)
CLASSES = 5


class Small(nn.Module):
    """Two convolutions with ReLU and pool, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(2, 8, 3, padding=1)
        self.conv2 = nn.Conv3d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool3d(2)
        self.fc = nn.Linear(8 * 1 * 2 * 2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.fc(x.flatten(1))


@pytest.fixture(scope="module")
def model() -> BuiltModel:
    torch.manual_seed(3)
    return BuiltModel(
        Small().eval(), TensorSpec("volume", "float32", ("batch", *SHAPE)), (OutputSpec("scores", (CLASSES,)),)
    )


@pytest.fixture(scope="module", autouse=True)
def faster() -> Generator[None]:
    """Export the network once for all tests, and search the entropy threshold in fewer bins."""
    made = onnx_int8.make_graph
    graphs: list[NetworkGraph] = []

    def make_once(model: BuiltModel, request: WriteRequest) -> NetworkGraph:
        if not graphs:
            graphs.append(made(model, request))
        return replace(graphs[0], model=graphs[0].model.clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_int8, "make_graph", make_once)
        patch.setattr(ranges, "BINS", 512)
        yield


@pytest.fixture(scope="module")
def clips() -> CalibrationClips:
    drawn = np.random.default_rng(1).standard_normal((8, *SHAPE)).astype(np.float32)
    return CalibrationClips(drawn[:3], drawn[3:], tuple("abcde"), "noise", "")


def make_request(model: BuiltModel, clips: CalibrationClips, **changes: Any) -> WriteRequest:
    manifest = Manifest(
        version=MANIFEST_VERSION,
        producer="c3d-export 1",
        name="small",
        format="onnx",
        network=describe_network(model, "0" * 64),
        checkpoint=None,
        preprocessing=None,
        signature=model.signature(None, None),
        class_names=None,
        options={},
        versions={},
    )
    request = WriteRequest("small", manifest, 17, precision=PrecisionOptions("int8", min_snr=1.0), clips=clips)
    return replace(request, **changes)


def candidates(model: BuiltModel, request: WriteRequest) -> list[Candidate]:
    return list(OnnxFormat().candidates(model, request))


@pytest.fixture(scope="module")
def written(model: BuiltModel, clips: CalibrationClips, tmp_path_factory: pytest.TempPathFactory) -> WriteResult:
    request = make_request(model, clips)
    return candidates(model, request)[0].write(Attempt(tmp_path_factory.mktemp("int8")))


def constants(path: Path) -> dict[str, NDArray[Any]]:
    return {held.name: numpy_helper.to_array(held) for held in onnx.load(path).graph.initializer}


def test_it_computes_the_quantised_network(written: WriteResult, model: BuiltModel, clips: CalibrationClips) -> None:
    """The reference multiplies integers in NumPy and torch, with the scales that follow from the definition."""
    network: Any = model.network
    held = constants(written.files[0])

    def quantised(name: str, x: NDArray[Any]) -> Tensor:
        scale = held[f"{name}.input.scale"]
        return torch.from_numpy(np.clip(np.rint(x / scale), -128, 127)).double()

    def weight(name: str) -> tuple[Tensor, NDArray[Any]]:
        values = getattr(network, name).weight.detach().numpy()
        scales = np.abs(values).reshape(len(values), -1).max(1) / np.float32(127)
        integers = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1)))
        return torch.from_numpy(integers).double(), scales.astype(np.float64)

    def dequantised(name: str, sums: Tensor, scales: NDArray[Any]) -> NDArray[Any]:
        shape = (-1, *[1] * (sums.ndim - 2))
        scale = (scales * float(held[f"{name}.input.scale"])).reshape(shape)
        return sums.numpy() * scale + getattr(network, name).bias.detach().numpy().reshape(shape)

    x: NDArray[Any] = clips.held_out
    for name in ("conv1", "conv2"):
        integers, scales = weight(name)
        sums = F.conv3d(quantised(name, x), integers, padding=1)
        y = np.maximum(dequantised(name, sums, scales), 0).astype(np.float32)
        x = F.max_pool3d(torch.from_numpy(y), 2).numpy()
    integers, scales = weight("fc")
    expected = dequantised("fc", F.linear(quantised("fc", x.reshape(len(x), -1)), integers), scales)

    (scores,) = onnxruntime.InferenceSession(written.files[0]).run(["scores"], {"volume": clips.held_out})
    errors = np.abs(np.asarray(scores) - expected).max(axis=1) / np.abs(expected).max()
    # float32 sums of integers times a scale may round to the next level: a few levels of one layer, in few clips
    assert np.median(errors) <= 1e-5
    assert errors.max() <= 0.02


def test_the_file_is_what_tensorrt_takes(written: WriteResult) -> None:
    graph = onnx.load(written.files[0])
    held = constants(written.files[0])
    assert [(imported.domain, imported.version) for imported in graph.opset_import] == [("", 17)]
    assert graph.ir_version == 8
    layers = {node.name: node for node in graph.graph.node if node.op_type in ("Conv", "Gemm")}
    producers = {name: node for node in graph.graph.node for name in node.output}
    assert [*layers] == ["conv1", "conv2", "fc"]
    for name, layer in layers.items():
        activation, weight = (producers[source] for source in layer.input[:2])
        assert activation.op_type == weight.op_type == "DequantizeLinear"
        assert producers[activation.input[0]].op_type == "QuantizeLinear"
        zero_point = held[activation.input[2]]
        assert (zero_point.dtype, int(zero_point)) == (np.int8, 0)
        assert not held[weight.input[2]].any()
        assert held[weight.input[0]].dtype == np.int8
        assert weight.input[0] == f"{name}.weight"
        assert held[weight.input[1]].shape == (len(held[weight.input[0]]),)
        assert held[layer.input[2]].dtype == np.float32  # the bias
    assert producers["scores"].op_type == "Gemm"
    assert len(graph.graph.node) == len({node.name for node in graph.graph.node}) == 8 + 3 * 3


@pytest.mark.usefixtures("exported_anew")
def test_two_exports_have_the_same_bytes(
    written: WriteResult, model: BuiltModel, clips: CalibrationClips, tmp_path: Path
) -> None:
    again = candidates(model, make_request(model, clips))[0].write(Attempt(tmp_path))
    assert again.files[0].read_bytes() == written.files[0].read_bytes()


def test_the_best_range_method_is_taken_and_all_are_recorded(written: WriteResult) -> None:
    methods = written.manifest.options[RANGE_METHODS]
    assert isinstance(methods, list)
    decibels = {name: float(number.split()[0]) for name, number in (entry.split(": ") for entry in methods)}
    assert decibels.keys() == {"min-max", "percentile", "entropy"}
    chosen = written.manifest.options[RANGE_METHOD]
    assert decibels[str(chosen)] == max(decibels.values())
    assert any(f"ranges by {chosen}" in note for note in written.notes)


def test_an_outlier_makes_another_method_better(model: BuiltModel, clips: CalibrationClips, tmp_path: Path) -> None:
    calibration = clips.calibration.copy()
    calibration[0, 0, 0, 0, 0] = 50
    found = candidates(model, make_request(model, replace(clips, calibration=calibration)))[0].write(Attempt(tmp_path))
    assert found.manifest.options[RANGE_METHOD] != "min-max"


def test_layers_are_raised_until_it_is_accurate_enough(
    model: BuiltModel, clips: CalibrationClips, tmp_path: Path
) -> None:
    request = make_request(model, clips, precision=PrecisionOptions("int8", min_snr=200.0))
    found = candidates(model, request)
    assert len(found) == 1  # all of them in float32 miss 200 dB too, which the export's check then says
    raised = found[0].write(Attempt(tmp_path))
    entries = raised.manifest.options[RAISED_LAYERS]
    assert isinstance(entries, list)
    assert len(entries) == 3
    assert "QuantizeLinear" not in {node.op_type for node in onnx.load(raised.files[0]).graph.node}


def test_a_calibration_clip_that_is_not_finite_is_refused(model: BuiltModel, clips: CalibrationClips) -> None:
    calibration = clips.calibration.copy()
    calibration[1, 0, 0, 0, 0] = np.nan
    with pytest.raises(ArtifactError, match="volume is not finite on calibration clip 2"):
        candidates(model, make_request(model, replace(clips, calibration=calibration)))


def test_the_newest_opset_is_refused(model: BuiltModel, clips: CalibrationClips) -> None:
    with pytest.raises(UsageError, match="--opset 27 or lower"):
        candidates(model, make_request(model, clips, opset=28))


def test_for_cpus_the_fastest_form_is_written_and_all_times_are_recorded(
    model: BuiltModel, clips: CalibrationClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked = "2-D over stacked frames, zero point 1"

    def measure(variants: Mapping[str, onnx.ModelProto], *_: object) -> dict[str, float]:
        return {name: 1.0 if name in (stacked, "QLinearConv") else 2.0 for name in variants}

    monkeypatch.setattr(autotune, "_measure", measure)
    monkeypatch.setattr(autotune, "autotune_folder", lambda: tmp_path / "cache")
    request = make_request(model, clips, optimize=OptimizeOptions("cpu"))
    first = candidates(model, request)[0].write(Attempt(tmp_path)).files[0].read_bytes()
    monkeypatch.setattr(autotune, "_measure", lambda *_: pytest.fail("measured again"))
    written = candidates(model, request)[0].write(Attempt(tmp_path))
    assert written.files[0].read_bytes() == first
    options = written.manifest.options
    assert (options["target"], options[INT8_VARIANT]) == ("cpu", "QLinearConv")
    assert options[INT8_VARIANTS] == [
        "symmetric Q/DQ: 2 ms",
        "Q/DQ: 2 ms",
        "QLinearConv, 3-D: 2 ms",
        "QLinearConv: 1 ms",
    ]
    decisions = options["decisions"]
    assert isinstance(decisions, list)
    assert f"conv1 (Conv): {stacked}, measured 1 ms" in decisions
    graph = onnx.load(written.files[0])
    assert {imported.domain: imported.version for imported in graph.opset_import} == {"": 17, "com.microsoft": 1}
    assert [value.name for value in (*graph.graph.input, *graph.graph.output)] == ["volume", "scores"]
    assert [node.op_type for node in graph.graph.node].count("QLinearConv") == 2
    assert "Conv" not in {node.op_type for node in graph.graph.node}
