"""TorchScript files for CPUs hold the variant that was measured to be the fastest."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from helpers.built import c3d
from helpers.exported import NARROW
from helpers.residual import residual_network

from exporter.engines.base import RuntimeOptions
from exporter.engines.torchscript import FloatScript
from exporter.formats import FORMATS, torchscript_variants
from exporter.formats.export_module import select_outputs
from exporter.formats.torchscript_variants import (
    OPTIMIZE_FOR_INFERENCE,
    VARIANTS,
    Variant,
    compile_variant,
    fastest_first,
    make_variant,
    rank_variants,
)
from exporter.passes.winograd import torch_module
from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions, ParityOptions
from exporter.workflows.candidates import ParityFailedError
from exporter.workflows.export import ExportResult, export
from models.builder import build
from models.built_model import BuiltModel
from models.options import BuildOptions


def fake_measurements(*, plain: float, channels_last: float, winograd: float, loaded: float):
    """Replace the measurement: milliseconds of each variant, and through `optimize_for_inference`."""
    times = {"plain": plain, "channels_last": channels_last, "winograd": winograd, OPTIMIZE_FOR_INFERENCE: loaded}

    def measure(scripts: Mapping[str, object], x: torch.Tensor) -> dict[str, float]:
        return {name: times.get(name, 50.0) for name in scripts}

    return patch.object(torchscript_variants, "measure", measure)


@pytest.mark.parametrize(
    ("plain", "channels_last", "winograd", "order"),
    [
        (100, 90, 50, ["winograd", "channels_last", "plain"]),
        (100, 50, 90, ["channels_last", "winograd", "plain"]),
        (100, 96, 97, ["plain"]),  # faster by less than they must be
        (100, 120, 130, ["plain"]),
        (100, 94, 96, ["channels_last", "plain"]),
    ],
)
def test_nothing_is_taken_that_is_not_clearly_faster_than_plain(
    plain: float, channels_last: float, winograd: float, order: list[str]
) -> None:
    assert [*fastest_first({"plain": plain, "channels_last": channels_last, "winograd": winograd})] == order


@pytest.fixture(scope="module")
def residual() -> BuiltModel:
    return residual_network()


@pytest.fixture(scope="module")
def module(residual: BuiltModel) -> torch.nn.Module:
    return select_outputs(residual, ("features",))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(("loaded", "wanted"), [(40.0, True), (49.0, False), (60.0, False)])
def test_optimize_for_inference_is_recommended_where_it_is_faster_than_the_file(
    loaded: float, wanted: bool, module: torch.nn.Module, residual: BuiltModel
) -> None:
    with fake_measurements(plain=100.0, channels_last=80.0, winograd=50.0, loaded=loaded):
        choice, script = next(rank_variants(module, residual, 64))
    assert (choice.variant, choice.optimize_for_inference, choice.loaded[1]) == ("winograd", wanted, loaded)
    assert choice.items == 4
    assert set(choice.milliseconds) == set(VARIANTS)
    plain, winograd = choice.sizes
    assert plain == sum(value.nbytes for value in module.state_dict().values()) < winograd
    assert script(torch.zeros(2, 3, 4, 8, 8)).shape == (2, 8, 4, 8, 8)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_candidates_come_fastest_first_and_plain_last(module: torch.nn.Module, residual: BuiltModel) -> None:
    with fake_measurements(plain=100.0, channels_last=80.0, winograd=50.0, loaded=45.0):
        names = [choice.name for choice, _ in rank_variants(module, residual, 1)]
    each = [(f"{name} through {OPTIMIZE_FOR_INFERENCE}", name) for name in ("winograd", "channels_last", "plain")]
    assert names == [name for pair in each for name in pair][: len(names)]
    assert names[-1] == "plain"


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_variant_that_is_not_faster_is_no_candidate(module: torch.nn.Module, residual: BuiltModel) -> None:
    with fake_measurements(plain=100.0, channels_last=99.0, winograd=50.0, loaded=100.0):
        assert [choice.name for choice, _ in rank_variants(module, residual, 1)] == ["winograd", "plain"]


def test_a_variant_shares_what_it_does_not_change(narrow: BuiltModel) -> None:
    module = select_outputs(narrow, ("logits",))
    before = {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in module.state_dict().items()}
    made = make_variant(module, narrow, "channels_last").state_dict()
    assert {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in module.state_dict().items()} == before
    fc6, conv3a = (next(name for name in before if name.endswith(end)) for end in ("fc6.weight", "conv3a.weight"))
    assert made[fc6].data_ptr() == before[fc6][0]
    assert made[conv3a].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_a_residual_network_computes_its_function(variant: Variant, residual: BuiltModel) -> None:
    script = compile_variant(make_variant(select_outputs(residual, ("features",)), residual, variant), variant)
    x = torch.randn(2, 3, 4, 8, 8)
    torch.testing.assert_close(script(x), residual.network(x), rtol=0, atol=1e-5)


QUARTER = BuildOptions(pool5="right", base_channels=16, feature_dim=1024)
"""A quarter of the width, with every layer's Winograd tiles: a sixteenth of the multiplications."""


@pytest.fixture(scope="module")
def exported_for_cpu(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """One real export, verified, whose measurement is said to have favoured Winograd."""
    with fake_measurements(plain=450.0, channels_last=380.0, winograd=160.0, loaded=60.0):
        return export(
            ExportRequest(
                ("torchscript",),
                output_dir=tmp_path_factory.mktemp("cpu"),
                optimize=OptimizeOptions(target="cpu"),
                model=QUARTER,
                outputs=("fc6", "logits"),
                parity=ParityOptions(input_types=("video",)),
            )
        )


def test_the_choice_is_recorded_and_reported(exported_for_cpu: ExportResult) -> None:
    (artifact,) = exported_for_cpu.artifacts
    reported = {
        "variant": "winograd",
        "measured": "plain 450 ms, channels_last 380 ms, winograd 160 ms for a batch of 1",
        OPTIMIZE_FOR_INFERENCE: False,
        "target": "cpu",
        "precision": "fp32",
        "weight_dtype": "fp32",
    }
    assert artifact.manifest.options == reported
    inside = FORMATS["torchscript"].read_embedded(artifact.path)
    assert inside is not None
    assert inside.options == reported
    (note,) = [note for note in exported_for_cpu.notes if note.startswith("torchscript:")]
    assert "winograd 160 ms (2.81 times as fast); the file holds winograd" in note
    sizes = [artifact.path.stat().st_size / 1e6, artifact.manifest.network.parameters * 4 / 1e6]
    assert "makes it {:.0f} MB instead of {:.0f}".format(*sizes) in note
    assert "optimize_for_inference makes it 0.83 times as fast: load it as it is" in note


def test_it_passes_parity(exported_for_cpu: ExportResult) -> None:
    (report,) = exported_for_cpu.reports
    assert report.passed
    assert 0 < max(row.budget_used for row in report.comparisons) < 0.6


def test_in_float64_the_file_is_the_network(exported_for_cpu: ExportResult) -> None:
    """What is left is the rounding of the transformed weights and of the matrices to float32."""
    (artifact,) = exported_for_cpu.artifacts
    clip = np.random.default_rng(3).standard_normal((3, 16, 112, 112)).astype(np.float32)
    with FloatScript(artifact.path, RuntimeOptions(signature=artifact.manifest.signature)) as script:
        output = script.run({"clip": clip[None].astype(np.float64)})
    with torch.inference_mode():
        network = c3d(build(QUARTER)).double()
        _, _, fc6, _, logits = network.forward_layers(torch.from_numpy(clip[None]).double())
    for name, golden in (("fc6", fc6.numpy()), ("logits", logits.numpy())):
        assert output[name].dtype == np.float64
        assert 0 < np.abs(output[name] - golden).max() < 2e-6 * np.abs(golden).max()


@pytest.fixture
def wrong_winograd() -> Iterator[None]:
    """Plant a fault: transformed weights of one convolution in eight are off by a thousandth."""
    right = torch_module.transform_weights

    def wrong(weight: torch.Tensor, *rest: object) -> torch.Tensor:
        return right(weight, *rest) * (1.001 if weight.shape[0] == 32 else 1)  # pyright: ignore[reportArgumentType]

    with patch.object(torch_module, "transform_weights", wrong):
        yield


@pytest.mark.usefixtures("wrong_winograd")
def test_the_file_holds_the_fastest_variant_that_passes_parity(tmp_path: Path) -> None:
    with fake_measurements(plain=450.0, channels_last=380.0, winograd=160.0, loaded=400.0):
        exported = export(
            ExportRequest(
                ("torchscript",),
                model=NARROW,
                output_dir=tmp_path,
                optimize=OptimizeOptions(target="cpu"),
                parity=ParityOptions(input_types=("video",)),
            )
        )
    (artifact,) = exported.artifacts
    options = artifact.manifest.options
    assert (options["variant"], options["failed_parity"]) == ("channels_last", "winograd")
    (report,) = exported.reports
    assert report.passed
    inside = FORMATS["torchscript"].read_embedded(artifact.path)
    assert inside == artifact.manifest.embedded()
    (note,) = [note for note in exported.notes if note.startswith("torchscript:")]
    assert "the file holds channels_last; parity failed with winograd;" in note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c3d.pt", "c3d.pt.json"]


def test_where_plain_fails_nothing_is_published(tmp_path: Path) -> None:
    request = ExportRequest(
        ("torchscript",),
        model=NARROW,
        output_dir=tmp_path,
        optimize=OptimizeOptions(target="cpu"),
        parity=ParityOptions(input_types=("video",), rtol=0.0, atol=0.0),
    )
    with (
        fake_measurements(plain=100.0, channels_last=110.0, winograd=120.0, loaded=100.0),
        pytest.raises(ParityFailedError, match="parity failed for c3d.pt; nothing was published"),
    ):
        export(request)
    assert not list(tmp_path.iterdir())
