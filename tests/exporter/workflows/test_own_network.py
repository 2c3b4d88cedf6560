"""A network that is no C3D goes through every verb by describing itself as a `BuiltModel`, and in no other way."""

from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from exporter.bench import runner
from exporter.bench.roofline import Product
from exporter.bench.types import BenchRequest
from exporter.errors import ArtifactError, UsageError
from exporter.fault_injection.results import SelfTestOptions
from exporter.passes import autotune
from exporter.requests import ExportRequest, OptimizeRequest
from exporter.types import QUICK, OptimizeOptions, ParityOptions, Target
from exporter.workflows.bench import benchmark
from exporter.workflows.export import ExportResult, export
from exporter.workflows.optimize import optimize
from exporter.workflows.self_test import self_test
from exporter.workflows.verify import verify_parity
from models import BuiltModel, OutputSpec, TensorSpec

SHAPE = (2, 8, 16, 16)


class Block(nn.Module):
    """Two convolutions and a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv2(self.relu(self.bn1(self.conv1(x)))) + x)


class ResidualNetwork(nn.Module):
    """Class scores and the features before them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv3d(2, channels, 3, padding=1)
        self.layer1 = Block(channels)
        self.pool = nn.MaxPool3d(2)
        self.layer2 = Block(channels)
        self.fc = nn.Linear(channels, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layer2(self.pool(self.layer1(torch.relu(self.stem(x)))))
        features = x.mean(dim=(2, 3, 4))
        return self.fc(features), features


def make_model(seed: int = 0, channels: int = 16) -> BuiltModel:
    torch.manual_seed(seed)
    network = ResidualNetwork(channels).eval()
    for norm in (network.layer1.bn1, network.layer2.bn1):
        norm.running_mean, norm.running_var = torch.rand(channels) - 0.5, torch.rand(channels) + 0.5
    return BuiltModel(
        network=network,
        input=TensorSpec("volume", "float32", ("batch", *SHAPE)),
        outputs=(OutputSpec("scores", (6,)), OutputSpec("features", (channels,), "features")),
    )


@pytest.fixture(scope="module")
def model() -> BuiltModel:
    return make_model()


@pytest.fixture(scope="module", params=["portable", "cpu"])
def exported(
    request: pytest.FixtureRequest, model: BuiltModel, tmp_path_factory: pytest.TempPathFactory
) -> ExportResult:
    target: Target = request.param
    return export(
        ExportRequest(
            ("onnx", "torchscript"),
            model=model,
            outputs=("features", "scores"),
            optimize=OptimizeOptions(target=target),
            output_dir=tmp_path_factory.mktemp(target),
            name="residual",
        )
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_both_formats_are_exported_and_proven(exported: ExportResult, model: BuiltModel) -> None:
    assert [report.passed for report in exported.reports] == [True, True]
    onnx, torchscript = (artifact.path for artifact in exported.artifacts)
    volumes = np.random.default_rng(0).standard_normal((3, *SHAPE), dtype=np.float32)
    with torch.inference_mode():
        scores, features = model.network(torch.from_numpy(volumes))
        scripted = torch.jit.load(str(torchscript))(torch.from_numpy(volumes))  # pyright: ignore
    returned = onnxruntime.InferenceSession(onnx).run(["features", "scores"], {"volume": volumes})
    for outputs in (returned, [value.numpy() for value in scripted]):
        for output, expected in zip(outputs, (features, scores), strict=True):
            np.testing.assert_allclose(np.asarray(output), expected.numpy(), atol=1e-4)


def test_only_scores_have_highest_classes(exported: ExportResult) -> None:
    rows = {row.output: row for row in exported.reports[0].comparisons}
    assert rows["scores"].top1 == "same"
    assert rows["features"].top1 is None


def test_the_manifest_describes_the_network(exported: ExportResult, model: BuiltModel) -> None:
    manifest = exported.artifacts[0].manifest
    assert (manifest.network.architecture, manifest.network.description) == ("", "ResidualNetwork")
    assert manifest.network.parameters == model.parameters
    assert manifest.preprocessing is None
    assert [str(value) for value in manifest.signature.outputs] == [
        "features float32 (batch, 16)",
        "scores float32 (batch, 6)",
    ]


def test_parity_is_checked_again_with_the_network_and_names_its_layers(
    exported: ExportResult, model: BuiltModel
) -> None:
    paths = [artifact.path for artifact in exported.artifacts]
    reports = verify_parity(paths, ParityOptions(input_types=QUICK, localize=True, determinism=True), model)
    assert [report.passed for report in reports] == [True] * len(paths)
    for report in reports:
        assert report.localization is not None
        assert {layer.layer for layer in report.localization.layers} >= {"stem", "layer1.conv1", "pool", "fc"}


def test_another_network_fails(exported: ExportResult) -> None:
    options = ParityOptions(input_types=("random",), localize=True)
    (report,) = verify_parity([exported.artifacts[0].path], options, make_model(seed=1))
    assert not report.passed
    assert report.localization is not None
    assert report.localization.first == "stem"


def test_without_the_network_it_cannot_be_rebuilt(exported: ExportResult) -> None:
    with pytest.raises(ArtifactError, match="--against FILE"):
        verify_parity([exported.artifacts[0].path])
    onnx, torchscript = (artifact.path for artifact in exported.artifacts)
    (report,) = verify_parity([onnx], ParityOptions(against=torchscript, input_types=("random",)))
    assert report.passed


def test_optimize_rewrites_its_convolutions(tmp_path: Path) -> None:
    request = ExportRequest(("onnx",), model=make_model(channels=64), output_dir=tmp_path, name="plain", verify=False)
    (plain,) = export(request).artifacts
    done = optimize(OptimizeRequest(plain.path, measure=False))
    actions = {decision.node: decision.action for decision in done.decisions}
    assert actions.keys() >= {"stem", "layer1.conv1", "layer1.conv2", "layer2.conv1", "layer2.conv2"}
    assert actions["layer1.conv1"].startswith("winograd")
    assert done.report is not None
    assert done.report.passed


def test_a_manifest_repeats_the_measured_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ExportRequest(("onnx",), model=make_model(channels=64), output_dir=tmp_path, name="plain", verify=False)
    (plain,) = export(request).artifacts
    wanted = OptimizeRequest(
        plain.path, tmp_path / "a" / "fast.onnx", OptimizeOptions("cpu", autotune=True), verify=False, measure=False
    )
    monkeypatch.setattr(autotune, "_measure", lambda variants, *_: {name: 1 / len(name) for name in variants})
    monkeypatch.setattr(autotune, "autotune_folder", lambda: tmp_path / "tuning")
    first = optimize(wanted)
    monkeypatch.setattr(autotune, "_measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(autotune, "autotune_folder", lambda: tmp_path / "empty")
    decisions = first.path.with_name("fast.onnx.json")
    again = optimize(OptimizeRequest(plain.path, tmp_path / "b" / "fast.onnx", decisions=decisions, verify=False))
    assert any(row.measured_ms is not None for row in again.decisions)
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in first.files]


@pytest.mark.parametrize("exported", ["cpu"], indirect=True)
def test_its_faults_are_detected(exported: ExportResult, model: BuiltModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "exporter.fault_injection.samples.run_samples", lambda *_: ()
    )  # the same whatever the network is
    report = self_test(exported.artifacts[0].path, SelfTestOptions(quick=True, clean_runs=1), model)
    assert report.passed
    assert not report.of("invalid")
    assert {fault.kind for fault in report.of("detected")} >= {"weights negated", "frames reversed", "BGR for RGB"}


class TwoInputs(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


def test_two_inputs_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    spec = TensorSpec("a", "float32", ("batch", 4))
    model = BuiltModel(TwoInputs().eval(), spec, (OutputSpec("sum", (4,)),))
    with pytest.raises(UsageError, match=r"takes 2 inputs \(a, b\)"):
        export(ExportRequest(("onnx",), model=model, output_dir=tmp_path))
    assert not list(tmp_path.iterdir())


class Uncompilable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * len(dict.fromkeys(dir(self), 1))


def test_what_torchscript_cannot_compile_is_an_error_with_its_reason(tmp_path: Path) -> None:
    spec = TensorSpec("x", "float32", ("batch", 4))
    model = BuiltModel(Uncompilable().eval(), spec, (OutputSpec("y", (4,)),))
    with pytest.raises(UsageError, match="TorchScript cannot compile Uncompilable: "):
        export(ExportRequest(("torchscript",), model=model, output_dir=tmp_path, verify=False))


def test_a_class_without_source_is_an_error_of_the_network_and_not_of_the_folder(tmp_path: Path) -> None:
    space: dict[str, Any] = {"__name__": "prompt"}
    exec("from torch import nn\nclass Typed(nn.Module):\n    def forward(self, x): return x + 1", space)
    model = BuiltModel(space["Typed"]().eval(), TensorSpec("x", "float32", ("batch", 4)), (OutputSpec("y", (4,)),))
    with pytest.raises(UsageError, match="TorchScript cannot compile Typed: "):
        export(ExportRequest(("torchscript",), model=model, output_dir=tmp_path, verify=False))


def test_the_phases_add_up_to_the_time_that_an_export_takes(model: BuiltModel, tmp_path: Path) -> None:
    start = perf_counter()
    fast, few = OptimizeOptions(target="cpu"), ParityOptions(input_types=("random",))
    request = ExportRequest(("torchscript",), model=model, output_dir=tmp_path, optimize=fast, parity=few)
    seconds = sum(export(request).seconds.values())
    assert 0.8 * (perf_counter() - start) < seconds


def test_a_plain_module_needs_three_facts(tmp_path: Path) -> None:
    model = BuiltModel(nn.Linear(4, 2).eval(), TensorSpec("x", "float32", ("batch", 4)), (OutputSpec("y", (2,)),))
    (artifact,) = export(ExportRequest(("onnx",), model=model, output_dir=tmp_path)).artifacts
    assert artifact.manifest.network.description == "Linear"


@pytest.mark.parametrize("exported", ["cpu"], indirect=True)
def test_bench_measures_its_artifacts(exported: ExportResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "product_worker", nullcontext)
    monkeypatch.setattr(runner, "measure_product", lambda *_: Product(1e9, "fake"))
    paths = tuple(artifact.path for artifact in exported.artifacts)
    report = benchmark(BenchRequest(paths, batches=(1,), rounds=2, load_rounds=1, warmup=0, seconds=1.0))
    assert [row.target for row in report.measurements] == ["residual.onnx", "residual.pt"]
    assert all(row.median > 0 for row in report.measurements)
