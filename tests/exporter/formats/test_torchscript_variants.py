"""What TorchScript files for CPUs hold: the form that was measured to be the fastest."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from exporter.engines.base import RuntimeOptions
from exporter.engines.torchscript import Float64Script
from exporter.formats import FORMATS, torchscript_variants
from exporter.formats.export_module import select_outputs
from exporter.formats.torchscript_variants import (
    OPTIMIZE_FOR_INFERENCE,
    VARIANTS,
    fastest,
    make_variant,
    next_fallback,
    select_variant,
)
from exporter.passes.winograd import torch_module
from exporter.types import ExportRequest, ParityOptions
from exporter.workflows.export import ExportResult, ParityFailedError, export
from models.builder import BuiltModel, build
from models.options import BuildOptions


def measured(**times: float):
    """Stand in for `measure`: what each candidate is said to take."""

    def measure(candidates: Mapping[str, object], clips: torch.Tensor) -> dict[str, float]:
        return {name: times[name] for name in candidates}

    return patch.object(torchscript_variants, "measure", measure)


@pytest.mark.parametrize(
    ("plain", "channels_last", "winograd", "taken"),
    [
        (100, 90, 50, "winograd"),
        (100, 50, 90, "channels_last"),
        (100, 96, 97, "plain"),  # faster by less than it must be
        (100, 120, 130, "plain"),
        (100, 94, 96, "channels_last"),
    ],
)
def test_nothing_is_taken_that_is_not_clearly_faster_than_plain(
    plain: float, channels_last: float, winograd: float, taken: str
) -> None:
    assert fastest({"plain": plain, "channels_last": channels_last, "winograd": winograd}) == taken


def test_candidates_run_in_turns_and_nobody_always_behind_the_same_one() -> None:
    order: list[str] = []
    candidates = {name: lambda _, name=name: order.append(name) for name in "abc"}
    times = torchscript_variants.measure(candidates, torch.zeros(1))
    assert times.keys() == candidates.keys()
    assert all(taken > 0 for taken in times.values())
    turns = ["".join(order[at : at + 3]) for at in range(0, len(order), 3)]
    assert set(turns) == {"abc", "bca", "cab"}


class _Small(torch.nn.Module):
    """A network of C3D's layer names that runs in a blink."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential()
        self.network.add_module("conv1", torch.nn.Conv3d(1, 1, 3, padding=1))
        self.network.add_module("pool1", torch.nn.MaxPool3d((1, 2, 2)))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.network(clip[:, :1])


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(("loaded", "wanted"), [(40.0, True), (49.0, False), (60.0, False)])
def test_loading_through_optimize_for_inference_is_recommended_where_it_beats_the_file(
    loaded: float, wanted: bool
) -> None:
    with measured(plain=100.0, channels_last=80.0, winograd=50.0, optimize_for_inference=loaded):
        choice, script = select_variant(_Small().eval(), 64)
    assert (choice.form, choice.optimise, choice.loaded) == ("winograd", wanted, (50.0, loaded))
    assert choice.clips == 4, "the time is measured, not the patience of the user"
    assert set(choice.milliseconds) == set(VARIANTS)
    assert choice.sizes == (4 * 28, 4 * (36 * 3 + 1 + 36 * 36 + 16 * 36 + 2)), "taps, bias, the matrices"
    assert script(torch.zeros(2, 3, 16, 112, 112)).shape == (2, 1, 16, 56, 56)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_where_the_fastest_does_not_hold_parity_the_next_fastest_that_gains_is_taken_and_plain_at_last() -> None:
    module, tried = _Small().eval(), list[str]()
    with measured(plain=100.0, channels_last=80.0, winograd=50.0, optimize_for_inference=45.0):
        choice, script = select_variant(module, 1)
        while not choice.is_last:
            tried.append(choice.title)
            choice, script = next_fallback(module, choice)
    each = [(name, f"{name} through {OPTIMIZE_FOR_INFERENCE}") for name in ("winograd", "channels_last", "plain")]
    assert (*tried, "plain") == tuple(title for name, through in each for title in (through, name))
    assert (choice.title, choice.failed) == ("plain", tuple(tried))
    assert torch.equal(script(torch.ones(1, 3, 16, 112, 112)), module(torch.ones(1, 3, 16, 112, 112)))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_form_that_does_not_gain_is_not_tried_instead() -> None:
    module = _Small().eval()
    with measured(plain=100.0, channels_last=99.0, winograd=50.0, optimize_for_inference=100.0):
        assert next_fallback(module, select_variant(module, 1)[0])[0].title == "plain"


def test_a_form_leaves_the_network_alone_and_shares_what_it_does_not_change(built: BuiltModel) -> None:
    module = select_outputs(built.network, ("logits",))
    before = {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in module.state_dict().items()}
    made = make_variant(module, "channels_last").state_dict()
    assert {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in module.state_dict().items()} == before
    assert made["network.fc6.weight"].data_ptr() == before["network.fc6.weight"][0]
    assert made["network.conv3a.weight"].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.fixture(scope="module")
def exported_for_cpu(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """One real export, verified, whose measurement is said to have favoured Winograd."""
    with measured(plain=450.0, channels_last=380.0, winograd=160.0, optimize_for_inference=170.0):
        return export(
            ExportRequest(
                ("torchscript",),
                output_dir=tmp_path_factory.mktemp("cpu"),
                target="cpu",
                pool5="right",
                outputs=("fc6", "logits"),
                parity=ParityOptions(input_types=("video",)),
            )
        )


def test_the_choice_is_recorded_and_told(exported_for_cpu: ExportResult) -> None:
    (artifact,) = exported_for_cpu.artifacts
    reported = {
        "form": "winograd",
        "measured": "plain 450 ms, channels_last 380 ms, winograd 160 ms for 1 clip(s)",
        OPTIMIZE_FOR_INFERENCE: False,
        "target": "cpu",
    }
    assert artifact.manifest.options == reported
    inside = FORMATS["torchscript"].read_embedded(artifact.path)
    assert inside is not None
    assert inside.options == reported
    (note,) = [note for note in exported_for_cpu.notes if note.startswith("torchscript:")]
    assert "winograd 160 ms (2.81 times as fast): the file holds winograd" in note
    assert f"makes it {artifact.path.stat().st_size / 1e6:.0f} MB instead of 314" in note
    assert "optimize_for_inference makes it 0.94 times as fast: load it as it is" in note


def test_it_holds_parity(exported_for_cpu: ExportResult) -> None:
    (report,) = exported_for_cpu.reports
    assert report.passed
    assert 0 < max(row.budget_used for row in report.comparisons) < 0.6


def test_in_float64_the_file_is_the_network(exported_for_cpu: ExportResult) -> None:
    """What is left is the rounding of the transformed weights and of the matrices to float32."""
    (artifact,) = exported_for_cpu.artifacts
    clip = np.random.default_rng(3).standard_normal((3, 16, 112, 112)).astype(np.float32)
    with Float64Script(artifact.path, RuntimeOptions(signature=artifact.manifest.signature)) as script:
        answer = script.run({"clip": clip[None].astype(np.float64)})
    with torch.inference_mode():
        fc6, _, logits = (
            build(BuildOptions(seed=0, pool5="right"))
            .network.double()
            .forward_features(torch.from_numpy(clip[None]).double())
        )
    for name, truth in (("fc6", fc6.numpy()), ("logits", logits.numpy())):
        assert answer[name].dtype == np.float64
        assert 0 < np.abs(answer[name] - truth).max() < 2e-6 * np.abs(truth).max()


@pytest.fixture
def wrong_winograd() -> Iterator[None]:
    """Plant a fault: transformed weights of one convolution in eight are off by a thousandth."""
    right = torch_module.transformed

    def wrong(weight: torch.Tensor, *rest: object) -> torch.Tensor:
        return right(weight, *rest) * (1.001 if weight.shape[0] == 64 else 1)  # pyright: ignore[reportArgumentType]

    with patch.object(torch_module, "transformed", wrong):
        yield


@pytest.mark.usefixtures("wrong_winograd")
def test_the_file_holds_the_fastest_form_that_holds_parity(golden_cache: Path, tmp_path: Path) -> None:
    with measured(plain=450.0, channels_last=380.0, winograd=160.0, optimize_for_inference=400.0):
        exported = export(
            ExportRequest(
                ("torchscript",),
                output_dir=tmp_path,
                target="cpu",
                parity=ParityOptions(input_types=("video",), cache=golden_cache),
            )
        )
    (artifact,) = exported.artifacts
    options = artifact.manifest.options
    assert (options["form"], options["failed_parity"]) == ("channels_last", "winograd")
    (report,) = exported.reports
    assert report.passed
    inside = FORMATS["torchscript"].read_embedded(artifact.path)
    assert inside == artifact.manifest.embedded()
    (note,) = [note for note in exported.notes if note.startswith("torchscript:")]
    assert "the file holds channels_last; parity failed with winograd;" in note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c3d.pt", "c3d.pt.json"]


def test_where_plain_fails_nothing_is_published(golden_cache: Path, tmp_path: Path) -> None:
    request = ExportRequest(
        ("torchscript",),
        output_dir=tmp_path,
        target="cpu",
        parity=ParityOptions(input_types=("video",), cache=golden_cache, rtol=0.0, atol=0.0),
    )
    with (
        measured(plain=100.0, channels_last=110.0, winograd=120.0, optimize_for_inference=100.0),
        pytest.raises(ParityFailedError, match="parity failed for c3d.pt; nothing was published"),
    ):
        export(request)
    assert not list(tmp_path.iterdir())
