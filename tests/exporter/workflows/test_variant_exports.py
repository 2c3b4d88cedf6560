"""Exporting all variants: what fails is reported, and what was done is found again."""

import errno
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.deployments import SMALL

import exporter.workflows.variant_exports as module
from exporter.bench.deployment.types import DeploymentRequest, MissingRow, Variant
from exporter.calibration_clips import CalibrationClips
from exporter.errors import OutputError, UnavailableError, UsageError
from exporter.requests import ExportRequest
from exporter.results import HeldOutAccuracy
from exporter.types import CalibrationOptions, ParityOptions, PrecisionOptions
from exporter.workflows.candidates import ParityFailedError
from exporter.workflows.export import ExportResult
from exporter.workflows.export import export as real_export
from exporter.workflows.variant_exports import (
    ExportedVariant,
    command_request,
    comparison_key,
    describe_unfinished,
    export_variants,
    open_folder,
    require_space,
)
from models.builder import build
from models.built_model import BuiltModel
from models.progress import no_progress
from models.text import format_bytes

PORTABLE, CPU, SCRIPT = Variant("onnx"), Variant("onnx", "fp32", "cpu"), Variant("torchscript")


class Exporter:
    """Exports nothing but copies of one verified artifact; raises what it is told to."""

    def __init__(self, made: ExportResult) -> None:
        self.made = made
        self.faults: dict[str, Exception] = {}
        self.asked: list[ExportRequest] = []

    def __call__(self, request: ExportRequest, _progress: Any) -> ExportResult:
        self.asked.append(request)
        if (fault := self.faults.get(request.output_dir.name)) is not None:
            raise fault
        (artifact,) = self.made.artifacts
        request.output_dir.mkdir(parents=True)
        for path in artifact.files:
            shutil.copy(path, request.output_dir)
        moved = replace(artifact, path=request.output_dir / artifact.path.name)
        return replace(self.made, artifacts=(moved,), notes=("a note of the export",))


@pytest.fixture(scope="module")
def small() -> BuiltModel:
    return build(SMALL)


@pytest.fixture(scope="module")
def verified(small: BuiltModel, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    parity = ParityOptions(input_types=("random",))
    return real_export(ExportRequest(("onnx",), small, output_dir=tmp_path_factory.mktemp("verified"), parity=parity))


@pytest.fixture
def fake(verified: ExportResult, monkeypatch: pytest.MonkeyPatch) -> Exporter:
    fake = Exporter(verified)
    monkeypatch.setattr(module, "export", fake)
    return fake


def run(
    folder: Path, small: BuiltModel, variants: Sequence[Variant] = (PORTABLE, CPU), **given: Any
) -> tuple[tuple[ExportedVariant, ...], tuple[MissingRow, ...]]:
    return export_variants(variants, small, DeploymentRequest(small, **given), folder, no_progress)


def test_a_second_run_finds_what_the_first_has_exported_and_verified(
    small: BuiltModel, fake: Exporter, tmp_path: Path
) -> None:
    first, missing = run(tmp_path, small)
    assert missing == ()
    assert [found.variant for found in first] == [PORTABLE, CPU]
    model = first[0].path
    assert (first[0].bytes, first[0].notes) == (model.stat().st_size, ("a note of the export",))
    assert len(fake.asked) == 2
    assert run(tmp_path, small) == (first, ())
    assert len(fake.asked) == 2


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b'{"failed": {"a": 1}}',
        b'{"artifact": "NAME", "notes": 3}',
        b'{"artifact": "../FOLDER/NAME"}',
        b"{}",
    ],
)
def test_a_damaged_record_of_an_export_is_none(
    damage: bytes, small: BuiltModel, fake: Exporter, tmp_path: Path
) -> None:
    (found,), _ = run(tmp_path, small, (PORTABLE,))
    name, folder = found.path.name.encode(), found.path.parent.name.encode()
    (found.path.parent / "outcome.json").write_bytes(damage.replace(b"NAME", name).replace(b"FOLDER", folder))
    fake.faults[PORTABLE.slug] = UnavailableError("asked again")
    assert run(tmp_path, small, (PORTABLE,))[1][0].reason == "asked again"


def test_a_damaged_or_unfinished_artifact_is_exported_again(small: BuiltModel, fake: Exporter, tmp_path: Path) -> None:
    (found,), _ = run(tmp_path, small, (PORTABLE,))
    found.path.write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "kept", ignore_errors=True)
    fake.faults[PORTABLE.slug] = UnavailableError("asked again")
    assert run(tmp_path, small, (PORTABLE,))[1][0].reason == "asked again"


def test_what_fails_its_check_is_a_row_and_is_not_tried_again(
    small: BuiltModel, fake: Exporter, tmp_path: Path, verified: ExportResult
) -> None:
    (report,) = verified.reports
    worst = replace(report.comparisons[0], passed=False, snr_db=21.25, budget_used=3.5)
    failed = replace(report, passed=False, comparisons=(worst, *report.comparisons[1:]))
    fake.faults[CPU.slug] = ParityFailedError((failed,))
    exported, (missing,) = run(tmp_path, small)
    assert [found.variant for found in exported] == [PORTABLE]
    assert (missing.name, missing.kind) == ("onnx fp32 cpu", "failed")
    assert "at 21.2 dB, 3.5 times the allowed error" in missing.reason
    assert run(tmp_path, small)[1] == (missing,)
    assert len(fake.asked) == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (UnavailableError("not installed; pip install it"), "unavailable"),
        (UsageError("does not go together"), "unavailable"),
        (RuntimeError("out of registers"), "failed"),
    ],
)
def test_what_may_go_away_is_tried_again(
    fault: Exception, kind: str, small: BuiltModel, fake: Exporter, tmp_path: Path
) -> None:
    fake.faults[CPU.slug] = fault
    exported, (missing,) = run(tmp_path, small)
    assert len(exported) == 1
    assert missing.kind == kind
    assert str(fault) in missing.reason
    fake.faults.clear()
    assert len(run(tmp_path, small)[0]) == 2


def test_every_variant_is_reported_when_it_is_finished(small: BuiltModel, fake: Exporter, tmp_path: Path) -> None:
    fake.faults[CPU.slug] = UnavailableError("not installed; pip install it")
    first, again = list[str](), list[str]()
    for lines in (first, again):
        request = DeploymentRequest(small)
        export_variants((PORTABLE, CPU), small, request, tmp_path, no_progress, lines.append)
    assert re.fullmatch(r"onnx fp32 portable \(1 of 2\): exported and verified in \d+ s, [\d.]+ kB", first[0])
    assert first[1] == "onnx fp32 cpu (2 of 2): cannot be had here: not installed; pip install it"
    assert again[0].startswith("onnx fp32 portable (1 of 2): exported and verified by an earlier run, ")


def test_the_accuracy_that_a_precision_misses_is_stated(
    small: BuiltModel, fake: Exporter, tmp_path: Path, verified: ExportResult
) -> None:
    missed = HeldOutAccuracy(8, 30.0, 21.3, "a.mp4", "logits")
    fake.faults[CPU.slug] = ParityFailedError((replace(verified.reports[0], passed=False, held_out=missed),))
    assert run(tmp_path, small)[1][0].reason == f"not as accurate as it must be: {missed}"


@pytest.mark.parametrize("error", [OutputError("No space left on device"), OSError(errno.ENOSPC, "full")])
def test_a_full_disk_ends_it(error: Exception, small: BuiltModel, fake: Exporter, tmp_path: Path) -> None:
    """The disk of the artifacts, or that of temporary files."""
    fake.faults[PORTABLE.slug] = error
    with pytest.raises(OutputError, match="No space"):
        run(tmp_path, small)


def test_no_export_begins_after_the_time_is_over(
    small: BuiltModel, fake: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    exported, missing = run(tmp_path, small, (PORTABLE, CPU, SCRIPT), export_seconds=50.0)
    assert [found.variant for found in exported] == [PORTABLE]
    assert [(row.name, row.kind) for row in missing] == [("onnx fp32 cpu", "postponed"), (str(SCRIPT), "postponed")]
    monkeypatch.undo()


def test_a_device_other_than_the_cpu_is_the_one_verified_on(small: BuiltModel) -> None:
    request = DeploymentRequest(small)
    assert command_request(CPU, request).parity.device is None
    on_gpu = replace(request, measure=replace(request.measure, device="cuda"))
    assert command_request(PORTABLE, on_gpu).parity.device == "cuda"


def test_accuracy_and_clips_go_to_precisions_below_float32_only(
    small: BuiltModel, fake: Exporter, tmp_path: Path
) -> None:
    wanted = PrecisionOptions(min_snr=33.0, calibration=CalibrationOptions((Path("v"),)))
    run(tmp_path, small, (CPU, Variant("onnx", "int8", "cpu")), precision=wanted)
    assert [request.precision for request in fake.asked] == [PrecisionOptions(), replace(wanted, compute="int8")]
    assert [request.optimize.target for request in fake.asked] == ["cpu", "cpu"]
    assert {request.parity.cache for request in fake.asked} == {tmp_path / "reference"}


def test_the_key_changes_with_everything_that_decides_the_artifacts(small: BuiltModel, narrow: BuiltModel) -> None:
    clip = np.zeros((1, 3, 16, 48, 48), np.float32)
    clips = CalibrationClips(clip, clip, ("a",), "one clip", "0" * 64)
    request = DeploymentRequest(small)
    key = comparison_key(request, small, clips)
    assert key == comparison_key(replace(request, formats=("onnx",), export_seconds=1.0), small, clips)
    others = (
        comparison_key(request, narrow, clips),
        comparison_key(request, small, replace(clips, sha256="1" * 64)),
        comparison_key(replace(request, outputs=("fc6",)), small, clips),
        comparison_key(replace(request, opset=20), small, clips),
        comparison_key(replace(request, external_data=True), small, clips),
        comparison_key(replace(request, precision=PrecisionOptions(min_snr=35)), small, clips),
        comparison_key(replace(request, measure=replace(request.measure, device="cuda")), small, clips),
    )
    assert len({key, *others}) == 1 + len(others)


def test_the_folder_is_removed_at_the_end_and_kept_where_the_run_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path))
    with open_folder(None, "k") as work:
        assert work.path.parent.parent == tmp_path
    assert not work.path.exists()
    with pytest.raises(KeyboardInterrupt), open_folder(None, "k") as work:
        (work.path / "done").touch()
        assert describe_unfinished() == f"0 exports kept in {work.path}: the same command goes on there"
        raise KeyboardInterrupt
    assert describe_unfinished() == ""
    with open_folder(None, "k") as again:
        assert (again.path / "done").exists()
        again.keep = True
    assert again.path.exists()
    week_ago = time.time() - 8 * 24 * 3600
    os.utime(again.path, (week_ago, week_ago))
    with open_folder(None, "other"):
        assert not again.path.exists()


def test_a_folder_of_the_user_is_kept(tmp_path: Path) -> None:
    with open_folder(tmp_path / "mine", "k") as work:
        pass
    assert work.path == tmp_path / "mine" / "k"
    assert work.path.is_dir()


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with (
        open_folder(tmp_path, "k"),
        pytest.raises(UsageError, match="another bench --all works"),
        open_folder(tmp_path, "k"),
    ):
        pass


def test_too_little_space_is_refused_before_anything_is_written(
    small: BuiltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 4 * small.parameters
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3 * size))
    require_space(tmp_path, small, (PORTABLE, CPU))
    with pytest.raises(OutputError, match=f"--work-dir .*3 artifacts of .* at least {format_bytes(4 * size)}, and"):
        require_space(tmp_path, small, (PORTABLE, CPU, SCRIPT))
    # what AOTInductor writes to the folder of temporary files, which is on the same disk
    with pytest.raises(OutputError, match=f"at least {format_bytes(5 * size)}, and"):
        require_space(tmp_path, small, (Variant("pt2-aoti"),))
