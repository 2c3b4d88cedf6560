"""The command line of a request means that request."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import exporter.workflows.export
import models.checkpoints.reading
from exporter.artifacts.export_command import export_command
from exporter.cli.main import cli
from exporter.requests import ExportRequest
from exporter.types import CalibrationOptions, OptimizeOptions, ParityOptions, PrecisionOptions
from exporter.workflows.export import ExportResult
from models.built_model import BuiltModel
from models.options import BuildOptions, WeightSelection

Parse = Callable[[str], ExportRequest]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Return what the command line makes of a command."""

    def parsed(command: str) -> ExportRequest:
        seen: list[ExportRequest] = []

        def export(request: ExportRequest, *_: Any) -> ExportResult:
            seen.append(request)
            return ExportResult((), (), "", (), {})

        monkeypatch.setattr(exporter.workflows.export, "export", export)
        program, *arguments = shlex.split(command)
        assert program == "c3d-export"
        done = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return seen[0]

    return parsed


REQUESTS = {
    "plain": ExportRequest(("onnx",)),
    "accuracy": ExportRequest(
        ("onnx",),
        BuildOptions(weights=Path("a checkpoint's.pth"), pool5="right", num_classes=487, new_head=True),
        precision=PrecisionOptions("int8", 33.5, 0.99, CalibrationOptions((Path("my videos"), "https://x/a.mp4"), 24)),
    ),
    "cpu": ExportRequest(
        ("onnx", "torchscript"),
        BuildOptions(weights=f"https://host/c3d.pth#sha256={'ab' * 32}", layout="jfzhang95", labels="names.txt"),
        outputs=("logits", "fc6"),
        batch=2,
        optimize=OptimizeOptions(target="cpu", autotune=True, optimize_for="load", weight_dtype="int8"),
        external_data=True,
        output_dir=Path("out"),
        name="net",
    ),
    "selection": ExportRequest(
        ("onnx",),
        BuildOptions(
            weights=Path("w.pt"),
            selection=WeightSelection("net.state", "module.", ema=True, ignore=("aux.*",), key_map=("a=fc8",)),
            input_size=(3, 8, 56, 56),
            variant="c3d",
            batch_norm=True,
            preprocess="jfzhang95",
            mean=Path("mean.npy"),
            seed=4,
        ),
        opset=21,
        with_preprocess=True,
        verify=False,
        parity=ParityOptions(device="cuda", clips=(Path("b.mp4"),)),
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_the_command_is_parsed_into_the_request(
    case: str, parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models.checkpoints.reading, "check_ahead", lambda *_: None)  # these hold no network
    Path("my videos").mkdir()
    for name in ("a checkpoint's.pth", "my videos/a.mp4", "w.pt", "mean.npy", "b.mp4"):
        Path(name).touch()
    Path("names.txt").write_text("walking\nrunning\n")
    request = REQUESTS[case]
    assert parse(export_command(request)) == replace(request, name=request.name or "c3d")


def test_a_network_that_only_python_describes_has_a_command_of_python(
    narrow: BuiltModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ExportRequest(
        ("onnx",),
        BuildOptions(num_classes=5, base_channels=8, labels=("a", "it's b", 'a "c"', "d", "e")),
        batch=2,
        optimize=OptimizeOptions(target="cpu"),
        precision=PrecisionOptions("int8", 35.0, calibration=CalibrationOptions((Path("v"),), 8)),
        parity=ParityOptions(device="cuda"),
    )
    seen: list[ExportRequest] = []
    monkeypatch.setattr(exporter, "export", seen.append)
    program, option, code = shlex.split(export_command(request))
    assert (program, option) == ("python", "-c")
    exec(code, {})  # it imports what it names
    assert seen == [request]
    assert "model=model" in export_command(replace(request, model=narrow))


def test_class_names_alone_have_a_command_of_python() -> None:
    assert export_command(ExportRequest(("onnx",), BuildOptions(labels=("a", "b")))).startswith("python -c ")
