"""Below float32: what is published is accurate enough on held-out clips, and `verify parity` compares it with the same minimum."""

import math
import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import rounding
from helpers.framed import small
from helpers.signing_keys import write_key

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import MIN_SNR, MIN_TOP1, PRECISION
from exporter.engines import ENGINES
from exporter.errors import UsageError
from exporter.formats import load_artifact
from exporter.load_checks import LoadChecks
from exporter.requests import ExportRequest
from exporter.results import ParityReport
from exporter.signing import SigningKey
from exporter.types import CalibrationOptions, ParityOptions, PrecisionOptions
from exporter.workflows.candidates import ParityFailedError
from exporter.workflows.export import ExportResult, export
from exporter.workflows.sign import sign_artifacts
from exporter.workflows.verify import verify_parity
from models.preprocessing.profiles import JFZHANG95

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"
MODEL = small(JFZHANG95)
FEW = ("random", "video")


@pytest.fixture(autouse=True, scope="module")
def rounding_format() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        rounding.use_rounding_format(patch)
        yield


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """An artifact in int8, held to 20 dB on two clips of a video."""
    return run(tmp_path_factory.mktemp("low"), int8(20))


@pytest.fixture(scope="module")
def float32(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return run(tmp_path_factory.mktemp("float32"), PrecisionOptions())


def run(folder: Path, precision: PrecisionOptions, *, with_preprocess: bool = False) -> ExportResult:
    return export(
        ExportRequest(
            ("onnx",),
            model=MODEL,
            output_dir=folder,
            precision=precision,
            with_preprocess=with_preprocess,
            parity=ParityOptions(input_types=FEW),
        )
    )


def int8(min_snr: float, min_top1: float | None = None, *, clips: bool = True) -> PrecisionOptions:
    calibration = CalibrationOptions((BIKES,), 8) if clips else CalibrationOptions()
    return PrecisionOptions("int8", min_snr, min_top1, calibration)


def verify(result: ExportResult, **options: Any) -> ParityReport:
    chosen = replace(ParityOptions(input_types=FEW), **options)
    return verify_parity([result.artifacts[0].path], chosen, MODEL)[0]


def test_it_is_judged_on_the_held_out_clips_and_recorded(low: ExportResult) -> None:
    (report,), manifest = low.reports, low.artifacts[0].manifest
    found = report.held_out
    assert found is not None
    assert found.passed
    assert (found.clips, found.required_snr_db) == (2, 20)
    verified = [row for row in report.comparisons if row.input.startswith("bikes.mp4")]
    assert {row.min_snr_db for row in verified} == {20}
    assert min(row.snr_db for row in verified) == found.snr_db >= 20
    others = {row.input: row.min_snr_db for row in report.comparisons if row.input in FEW}
    assert others == {"random": None, "video": 15}  # these find faults, and prove no accuracy
    assert (manifest.precision, manifest.min_snr, manifest.raised_layers) == ("int8", 20, {})
    assert str(manifest.options["calibration"]).startswith("sha256:")


def test_layers_are_raised_until_it_holds_and_are_named(tmp_path: Path) -> None:
    result = run(tmp_path, int8(45))
    report = result.reports[0]
    assert [*report.raised_layers] == ["conv"]
    assert result.artifacts[0].manifest.raised_layers == report.raised_layers
    assert report.held_out is not None
    assert report.held_out.snr_db >= 45


def test_below_the_minimum_nothing_is_published_and_the_measured_ratio_is_named(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_text("an older artifact")
    (tmp_path / "small.onnx.json").write_text("its manifest")
    with pytest.raises(ParityFailedError, match="--min-snr") as caught:
        run(tmp_path, int8(200))
    found = caught.value.reports[0].held_out
    assert found is not None
    assert 100 < found.snr_db < 200  # both layers in float32
    assert f"{found.snr_db:.1f} dB" in str(caught.value)
    assert "2 layers raised" in str(caught.value)
    assert caught.value.exit_code == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "small.onnx": "an older artifact",
        "small.onnx.json": "its manifest",
    }


def test_verify_judges_by_what_the_manifest_records(low: ExportResult) -> None:
    on_own_clip = verify(low, clips=(BIKES,))
    assert on_own_clip.passed
    assert on_own_clip.held_out is not None
    assert (on_own_clip.held_out.input, on_own_clip.held_out.required_snr_db) == ("bikes.mp4", 20)
    without = verify(low)
    assert without.passed
    assert without.held_out is None  # the packaged clip is not of the kind that it was calibrated with
    assert any("--clip" in note for note in without.notes)
    stricter = verify(low, min_snr=60.0)
    assert not stricter.passed
    assert stricter.held_out is not None
    assert stricter.held_out.input == "video"


def test_of_an_artifact_that_comes_from_elsewhere_the_manifest_is_not_believed(
    low: ExportResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It asks for 20 dB on clips like bikes.mp4; the default is 30 dB, on the packaged clip where none are given."""
    monkeypatch.setenv("C3D_EXPORT_STATE", str(tmp_path))  # the record of another machine
    without, with_clips = verify(low), verify(low, clips=(BIKES,))
    assert without.held_out is not None
    assert with_clips.held_out is not None
    assert (without.held_out.input, without.held_out.required_snr_db) == ("video", 30)
    assert (with_clips.held_out.input, with_clips.held_out.required_snr_db) == ("bikes.mp4", 30)
    assert verify(low, clips=(BIKES,), min_snr=20.0).passed


def test_whose_manifest_is_believed(low: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Path(shutil.copytree(low.artifacts[0].path.parent, tmp_path / "copy")) / low.artifacts[0].path.name
    assert load_artifact(model).is_believed
    private, public = write_key(tmp_path, "ours")
    sign_artifacts([model], SigningKey.read(private))
    assert load_artifact(model).is_believed
    monkeypatch.setenv("C3D_EXPORT_STATE", str(tmp_path))  # the record of another machine
    assert not load_artifact(model).is_believed  # anybody can sign, with a key of their own
    assert load_artifact(model, LoadChecks(verify_keys=(public,))).is_believed
    sign_artifacts([model], SigningKey.read(private))
    assert not load_artifact(model).is_believed  # signed here, not written here


def test_a_changed_manifest_is_not_believed(low: ExportResult, tmp_path: Path) -> None:
    model = Path(shutil.copytree(low.artifacts[0].path.parent, tmp_path / "copy")) / low.artifacts[0].path.name
    manifest = model.with_name(f"{model.name}.json")
    manifest.write_text(manifest.read_text() + "\n")  # the same statements in other bytes
    assert not load_artifact(model).is_believed


def test_without_clips_the_packaged_clip_is_judged_both_times(tmp_path: Path) -> None:
    result = run(tmp_path, int8(20, clips=False))
    assert any("proves little" in note for note in result.notes)
    at_export, later = result.reports[0].held_out, verify(result).held_out
    assert at_export is not None
    assert at_export == later
    assert at_export.input == "video"


def test_with_preprocessing_inside_the_held_out_clips_are_frames(tmp_path: Path, low: ExportResult) -> None:
    result = run(tmp_path, int8(20), with_preprocess=True)
    found, expected = result.reports[0].held_out, low.reports[0].held_out
    assert found is not None
    assert expected is not None
    assert found.snr_db == pytest.approx(expected.snr_db, abs=0.1)


def test_a_required_share_of_equal_classes_is_recorded(tmp_path: Path) -> None:
    result = run(tmp_path, int8(20, 0.5))
    assert result.artifacts[0].manifest.options[MIN_TOP1] == 0.5
    found = result.reports[0].held_out
    assert found is not None
    assert (found.required_top1, found.top1) == (0.5, 1.0)
    later = verify(result, clips=(BIKES,)).held_out
    assert later is not None
    assert later.required_top1 == 0.5


def test_unverified_artifacts_are_held_to_nothing_that_was_not_measured(tmp_path: Path) -> None:
    request = ExportRequest(("onnx",), model=MODEL, output_dir=tmp_path, precision=int8(20), verify=False)
    manifest = export(request).artifacts[0].manifest
    assert manifest.precision == "int8"
    assert manifest.min_snr is None


def test_an_engine_in_lower_precision_fails_where_the_artifact_states_float32(
    float32: ExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "bfloat16", rounding.ENGINE)
    assert float32.reports[0].passed
    report = verify(float32, engine="bfloat16")
    assert not report.passed
    assert not any(row.passed for row in report.comparisons)
    assert 40 < min(row.snr_db for row in report.comparisons) < 70  # as accurate as bfloat16 outputs are

    artifact = load_artifact(float32.artifacts[0].path)
    assert artifact.manifest is not None
    stated = replace(artifact.manifest, options={**artifact.manifest.options, PRECISION: "bf16"})
    assert evaluate_as(artifact, stated).passed  # float32 weights, and bfloat16 is what it states


def evaluate_as(artifact: LoadedArtifact, manifest: Manifest) -> ParityReport:
    from exporter.workflows.verify import golden_outputs, verify_built

    options = ParityOptions(input_types=FEW, engine="bfloat16")
    (report,) = verify_built([replace(artifact, manifest=manifest)], golden_outputs(MODEL, options), options)
    return report


def test_bounds_that_mean_nothing_are_refused(float32: ExportResult, low: ExportResult) -> None:
    for result, options in (
        (float32, {"min_snr": 30.0}),
        (float32, {"min_top1": 0.5}),
        (low, {"min_snr": 30.0, "rtol": 0.1}),
        (low, {"min_snr": -1.0}),
        (low, {"min_snr": math.nan}),
        (low, {"min_top1": 1.5}),
    ):
        with pytest.raises(UsageError, match=next(iter(options)).replace("_", "-")):
            verify(result, **options)
    assert verify(low, rtol=1.0, atol=1e9).held_out is None
    assert low.artifacts[0].manifest.options[MIN_SNR] == 20


def test_a_file_without_a_manifest_is_held_to_it_on_every_input(
    tmp_path: Path, low: ExportResult, float32: ExportResult
) -> None:
    model = onnx.load(low.artifacts[0].path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    reference = float32.artifacts[0].path
    options = ParityOptions(input_types=(*FEW, "nan"), min_snr=20.0, against=reference)
    (report,) = verify_parity([tmp_path / "foreign.onnx"], options)
    assert report.passed
    assert {row.min_snr_db for row in report.comparisons} == {20}
    assert "nan" not in {row.input for row in report.comparisons}
    (strict,) = verify_parity([tmp_path / "foreign.onnx"], replace(options, min_snr=60.0))
    assert not strict.passed
    assert np.isfinite(strict.comparisons[0].snr_db)
