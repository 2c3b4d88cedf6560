"""Networks in bfloat16: float32 in and out, accurate as asked for, and files that plain torch runs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.code_files import own
from helpers.residual import residual_network

from exporter.calibration_clips import CalibrationClips
from exporter.engines.base import RuntimeOptions
from exporter.engines.pt2 import ExportedProgramRuntime
from exporter.engines.torchscript import TorchScriptRuntime
from exporter.errors import UsageError
from exporter.formats import FORMATS, bfloat16
from exporter.formats.base import Attempt, WriteRequest
from exporter.formats.bfloat16 import make_candidates, speed_notes, to_bfloat16
from exporter.formats.export_module import select_outputs
from exporter.requests import ExportRequest
from exporter.types import FormatName, PrecisionOptions
from exporter.workflows.export import draft_manifest
from models.built_model import BuiltModel
from models.specs import OutputSpec

VOLUMES = np.random.default_rng(3).standard_normal((3, 3, 4, 8, 8)).astype(np.float32)
CLIPS = CalibrationClips(VOLUMES[:1], VOLUMES[1:], ("a", "b"), "two volumes of noise", "0" * 64)


@pytest.fixture(scope="module")
def residual() -> BuiltModel:
    return residual_network()


def snr(values: np.ndarray, exact: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(values - exact)))


def request_for(residual: BuiltModel, form: FormatName, min_snr: float) -> WriteRequest:
    wanted = ExportRequest((form,), residual, precision=PrecisionOptions("bf16", min_snr=min_snr))
    manifest = replace(draft_manifest(wanted, residual, CLIPS), format=form)
    return WriteRequest("m", manifest, wanted.opset, precision=wanted.precision, clips=CLIPS)


def test_layers_compute_in_bfloat16_between_float32(residual: BuiltModel) -> None:
    module = select_outputs(residual, ("features",))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    made = to_bfloat16(module, residual, 1, frozenset({"conv2"}))
    dtypes = {name: value.dtype for name, value in made.state_dict().items()}
    assert {dtype for name, dtype in dtypes.items() if "conv1" in name} == {torch.bfloat16}
    assert {dtype for name, dtype in dtypes.items() if "conv2" in name} == {torch.float32}
    x = torch.from_numpy(VOLUMES)
    weight, bias = (before[f"conv1.{name}"].bfloat16() for name in ("weight", "bias"))
    first = torch.nn.functional.conv3d(x.bfloat16(), weight, bias, padding=1)
    expected = first + torch.nn.functional.conv3d(
        first.relu().float(), before["conv2.weight"], before["conv2.bias"], padding=1
    )
    output = made(x)
    assert output.dtype == torch.float32
    assert torch.allclose(output, expected, rtol=0, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items()), "it is not changed"


def test_every_layer_raised_is_the_network_in_float32(residual: BuiltModel) -> None:
    module = select_outputs(residual, ("features",))
    x = torch.from_numpy(VOLUMES)
    assert torch.equal(to_bfloat16(module, residual, 1, frozenset({"conv1", "conv2"}))(x), module(x))


@pytest.mark.parametrize("outputs", [("fc6", "logits"), ("logits",), ("conv5b", "fc6", "fc7")])
def test_several_outputs_are_float32(outputs: tuple[str, ...], narrow: BuiltModel) -> None:
    made = to_bfloat16(select_outputs(narrow, outputs), narrow, len(outputs))
    returned = made(torch.zeros(1, 3, 16, 48, 48))
    values = returned if isinstance(returned, tuple) else (returned,)
    assert [value.dtype for value in values] == [torch.float32] * len(outputs)


def test_more_outputs_than_are_written_out_are_refused(residual: BuiltModel) -> None:
    many = replace(residual, outputs=tuple(OutputSpec(f"y{index}", (1,)) for index in range(7)))
    with pytest.raises(UsageError, match="--precision bf16: at most 6 outputs"):
        to_bfloat16(residual.network, many, 7)


OPEN: dict[FormatName, Callable[[Path, RuntimeOptions], TorchScriptRuntime | ExportedProgramRuntime]] = {
    "torchscript": TorchScriptRuntime,
    "pt2": ExportedProgramRuntime,
}


@pytest.mark.parametrize("form", ["torchscript", "pt2"])
@pytest.mark.parametrize(("min_snr", "least", "most"), [(40.0, 40.0, 60.0), (100.0, 100.0, 200.0)])
def test_the_file_is_as_accurate_as_asked_for(
    form: FormatName, min_snr: float, least: float, most: float, residual: BuiltModel, tmp_path: Path
) -> None:
    request = request_for(residual, form, min_snr)
    written = next(iter(FORMATS[form].candidates(residual, request))).write(Attempt(tmp_path))
    options = written.manifest.options
    assert ("raised_layers" in options) is (min_snr > 60)
    assert options["weight_dtype"] == "bf16"
    exact = residual_network().network.double()(torch.from_numpy(VOLUMES[1:]).double()).numpy()
    with OPEN[form](own(written.files[0]), RuntimeOptions(signature=written.manifest.signature)) as runtime:
        output = runtime.run({"volume": VOLUMES[1:]})["features"]
        assert runtime.precision == ("bfloat16" if min_snr < 60 else "float32")
    assert output.dtype == np.float32
    assert least < snr(output, exact) < most


def test_layers_are_raised_one_at_a_time(residual: BuiltModel) -> None:
    made = [*make_candidates(residual, request_for(residual, "pt2", 100.0))]
    assert made[-1].name == "bfloat16 with conv1, conv2 in float32" or made[-1].name.endswith("conv2, conv1 in float32")
    assert len(made[-1].options["raised_layers"]) == 2


@pytest.mark.parametrize(
    ("features", "noted"),
    [
        ({"avx2"}, "no bfloat16 instructions"),
        ({"avx2", "avx512_bf16"}, "--precision fp32 --target cpu"),  # AMD EPYC of the fourth generation
        ({"avx2", "avx512_bf16", "amx_bf16"}, ""),
        ({"asimd", "bf16"}, ""),  # Arm
    ],
)
def test_a_processor_on_which_float32_may_be_faster_is_noted(
    features: set[str], noted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bfloat16, "cpu_features", partial(frozenset, features))
    notes = speed_notes("pt2")
    assert len(notes) == bool(noted)
    assert all(noted in note and note.startswith("pt2: ") for note in notes)
