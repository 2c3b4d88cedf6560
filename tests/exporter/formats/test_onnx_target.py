"""--target cpu, --autotune, --optimize-for and --weight-dtype on export: what is written, recorded, told and refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.manifests import MANIFEST
from torch import nn

from exporter.artifacts.manifest import describe_network
from exporter.errors import UsageError
from exporter.formats import FORMATS, WriteRequest, WriteResult
from exporter.types import ExportRequest, OptimizeOptions, Target, WeightDtype
from exporter.workflows.export import export
from models.built_model import BuiltModel
from models.config import MANIFEST_KEY
from models.specs import OutputSpec, TensorSpec


class Small(nn.Module):
    """A convolution and a linear layer under C3D's names, of a size that exports in a second."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv3d(3, 64, 3, padding=1)
        self.fc8 = nn.Linear(64 * 4 * 2 * 2, 128)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.fc8(torch.relu(self.conv1(clip)).flatten(1))


def write(folder: Path, target: Target, weight_dtype: WeightDtype = "fp32") -> WriteResult:
    model = BuiltModel(
        network=Small().eval(),
        input=TensorSpec("clip", "float32", ("batch", 3, 4, 2, 2)),
        outputs=(OutputSpec("logits", (128,)),),
    )
    manifest = replace(
        MANIFEST,
        name="m",
        network=describe_network(model, ""),
        signature=model.signature(),
        preprocessing=None,
        options={"target": target},
    )
    folder.mkdir()
    request = WriteRequest("m", manifest, 21, OptimizeOptions(target, weight_dtype=weight_dtype))
    return next(FORMATS["onnx"].candidates(model, request)).write(folder, ())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> WriteResult:
    return write(tmp_path_factory.mktemp("plain") / "p", "portable")


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> WriteResult:
    return write(tmp_path_factory.mktemp("cpu") / "c", "cpu", "int8")


def test_portable_records_nothing_new_and_cpu_tells_its_passes(plain: WriteResult, cpu: WriteResult) -> None:
    assert set(plain.manifest.options) == {"target", "opset", "external_data"}
    assert plain.notes == ()
    assert {"passes", "decisions", "autotune", "optimize_for"} <= set(cpu.manifest.options)
    assert cpu.manifest.options["autotune"] is False
    assert len(cpu.notes) == 1


@pytest.mark.parametrize(("kind", "share"), [("fp16", 0.55), ("int8", 0.35)])
def test_weights_are_stored_in_fewer_bits_and_the_answers_stay(
    kind: WeightDtype, share: float, plain: WriteResult, tmp_path: Path
) -> None:
    small = write(tmp_path / "s", "portable", kind)
    assert small.manifest.options["weight_dtype"] == kind
    assert small.manifest.options["passes"] == ["compress-weights"]
    assert small.files[0].stat().st_size < share * plain.files[0].stat().st_size
    clip = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(1)).numpy()
    answers = [
        np.asarray(onnxruntime.InferenceSession(str(made.files[0])).run(None, {"clip": clip})[0])
        for made in (plain, small)
    ]
    assert abs(answers[0] - answers[1]).max() < 0.03 * abs(answers[0]).max()
    assert {entry.key for entry in onnx.load(small.files[0]).metadata_props} == {MANIFEST_KEY}


def test_the_same_inputs_give_the_same_bytes(cpu: WriteResult, tmp_path: Path) -> None:
    assert write(tmp_path / "again", "cpu", "int8").files[0].read_bytes() == cpu.files[0].read_bytes()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            ExportRequest(("torchscript",), optimize=OptimizeOptions(weight_dtype="fp16")),
            "--weight-dtype fp16 is an option of --format onnx",
        ),
        (
            ExportRequest(("onnx",), optimize=OptimizeOptions(autotune=True)),
            "--autotune and --optimize-for are options of --format onnx --target cpu",
        ),
        (
            ExportRequest(("onnx",), optimize=OptimizeOptions(optimize_for="load")),
            "--autotune and --optimize-for are options",
        ),
        (
            ExportRequest(("torchscript",), optimize=OptimizeOptions("cpu", autotune=True)),
            "--autotune and --optimize-for are options",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(request_: ExportRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(request_)
