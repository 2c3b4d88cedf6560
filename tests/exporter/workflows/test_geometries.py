"""Networks of other geometries through the pipeline: every output, verified, localised, and loaded again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.run import Done, call

from exporter.errors import UsageError
from exporter.formats.export_module import select_outputs
from exporter.formats.torchscript_variants import make_variant
from exporter.requests import ConvertRequest, ExportRequest
from exporter.types import OptimizeOptions, ParityOptions
from exporter.workflows.convert import convert
from exporter.workflows.export import ExportResult, export
from exporter.workflows.verify import verify_parity
from models import build
from models.built_model import BuiltModel
from models.options import BuildOptions

BASE = BuildOptions(num_classes=5, base_channels=4, feature_dim=16)
FLOW = replace(BASE, feature_dim=None, variant="global-pool", batch_norm=True, input_size=(2, 8, 32, 48))
EFFICIENT = replace(BASE, variant="efficient-3dcnns", batch_norm=True, input_size=(16, 32, 32))


def names(model: BuiltModel) -> tuple[str, ...]:
    return tuple(output.name for output in model.outputs)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """A network of optical flow with a global average, every output, rewritten for CPUs."""
    return export(
        ExportRequest(
            ("onnx",),
            model=FLOW,
            outputs=names(build(FLOW)),
            optimize=OptimizeOptions(target="cpu"),
            output_dir=tmp_path_factory.mktemp("flow"),
        )
    )


def test_every_output_of_a_network_of_flow_is_verified(flow: ExportResult) -> None:
    (report,) = flow.reports
    assert report.passed
    assert {row.output for row in report.comparisons} == {"logits", "probabilities", "pool5", "conv5b"}
    manifest = flow.artifacts[0].manifest
    assert {output.name: output.shape[1:] for output in manifest.signature.outputs} == {
        "logits": (5,),
        "probabilities": (5,),
        "pool5": (32, 1, 1, 1),
        "conv5b": (32, 1, 2, 3),
    }
    assert manifest.preprocessing is None  # no profile is for two channels
    assert any("2 channels" in note for note in flow.notes)


def test_its_layers_are_compared_and_a_video_is_refused(flow: ExportResult) -> None:
    path = flow.artifacts[0].path
    (report,) = verify_parity([path], ParityOptions(input_types=("random", "nan"), samples=1, localize=True))
    assert report.passed
    assert any("is not run on nan" in note for note in report.notes)  # engines put NaN at other positions of a map
    assert report.localization is not None
    with pytest.raises(UsageError, match="--clip needs a network that takes RGB video"):
        verify_parity([path], ParityOptions(clips=(Path("holiday.mp4"),)))


def test_its_file_states_the_geometry_when_it_is_a_checkpoint(flow: ExportResult, tmp_path: Path) -> None:
    again = build(BuildOptions(weights=flow.artifacts[0].path))
    folded = {**build(replace(FLOW, batch_norm=False)).settings}
    assert again.settings == folded
    converted = tmp_path / "flow.safetensors"
    convert(ConvertRequest(BuildOptions(weights=flow.artifacts[0].path), converted))
    assert build(BuildOptions(weights=converted)).settings == folded


@pytest.mark.parametrize(
    "options",
    [
        replace(BASE, fc7_dim=0, input_size=(16, 32, 32)),
        replace(BASE, feature_dim=0, fc7_dim=0, input_size=(32, 32, 48)),
    ],
    ids=["fc8 reads fc6", "fc8 reads pool5"],
)
def test_a_network_without_fc7_is_exported_verified_and_converted(options: BuildOptions, tmp_path: Path) -> None:
    network = build(options)
    torch.save(network.network.state_dict(), tmp_path / "c3d.pth")
    model = BuildOptions(weights=tmp_path / "c3d.pth", input_size=options.input_size)
    quick = ParityOptions(input_types=("random",), samples=1)
    optimize = OptimizeOptions(target="cpu")
    request = ExportRequest(("onnx",), model, outputs=names(network), optimize=optimize, output_dir=tmp_path)
    (artifact,) = export(replace(request, parity=quick)).artifacts
    assert artifact.manifest.network.settings == network.settings
    (report,) = verify_parity([artifact.path], quick)
    assert report.passed
    convert(ConvertRequest(model, tmp_path / "c3d.safetensors"))
    assert build(BuildOptions(weights=tmp_path / "c3d.safetensors")).settings == network.settings


def test_the_commands_ask_for_a_size_and_take_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save(build(replace(BASE, input_size=(1, 16, 48, 32), num_classes=3)).network.state_dict(), tmp_path / "w.pth")

    def run(*arguments: str) -> Done:
        return call("c3d-export", "convert", "w.pth", "-o", "w.safetensors", *arguments, cwd=tmp_path, capture=capfd)

    asked = run()
    assert (asked.returncode, asked.stdout) == (3, "")
    assert "--input-size CxTxHxW. These fit: 1x16x" in asked.stderr
    assert run("--input-size", "112x112").returncode == 2
    assert run("--input-size", "3x16x48x32").returncode == 3
    assert run("--input-size", "1x16x48x32", "--pool5", "symmetric").returncode == 0
    assert build(BuildOptions(weights=tmp_path / "w.safetensors")).settings["height"] == 48


@pytest.mark.parametrize(
    "options",
    [
        FLOW,
        EFFICIENT,
        replace(BASE, input_size=(1, 32, 32, 32)),
        replace(BASE, input_size=(12, 40, 56), pool5="right"),
        replace(BASE, num_classes=0, fc7_dim=0, input_size=(8, 32, 32), pool5="right"),
        replace(BASE, input_size=(16, 112, 112), pool5="valid"),
    ],
    ids=["global pool", "efficient-3dcnns", "32 frames", "odd maps", "8 frames, ends at fc6", "pool5 without padding"],
)
def test_the_rewritten_torchscript_modules_compute_the_same_outputs(options: BuildOptions) -> None:
    model = build(options)
    module = select_outputs(model, names(model))
    clips = torch.randn(2, *map(int, model.input.shape[1:]), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = module(clips)
        for variant in ("channels_last", "winograd"):
            made = make_variant(module, model, variant)(clips)
            for name, ours, theirs in zip(names(model), made, expected, strict=True):
                error = (ours - theirs).abs().max() / theirs.abs().max()
                assert error < 1e-4, (variant, name)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_scripted_network_of_another_geometry_refuses_a_wrong_clip(tmp_path: Path) -> None:
    request = ExportRequest(("torchscript",), model=EFFICIENT, outputs=("conv5b", "fc6"), output_dir=tmp_path)
    (artifact,) = export(replace(request, parity=ParityOptions(input_types=("random",), samples=1))).artifacts
    script = torch.jit.load(artifact.path)
    assert [tuple(value.shape) for value in script(torch.zeros(1, 3, 16, 32, 32))] == [(1, 32, 1, 2, 2), (1, 16)]
    with pytest.raises(torch.jit.Error, match=r"must be \(N, 3, 16, 32, 32\)"):
        script(torch.zeros(1, 3, 16, 112, 112))
