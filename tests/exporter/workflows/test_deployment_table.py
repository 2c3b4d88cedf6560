"""`benchmark_all()`: what is made of exports and measurements that are faked; one real run is behind `heavy`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.deployments import SMALL
from helpers.small_video_model import SmallVideoModel

import exporter.workflows.deployment_table as module
from exporter.bench.deployment import variants
from exporter.bench.deployment.accuracy import Accuracy
from exporter.bench.deployment.measuring import Measured
from exporter.bench.deployment.types import BatchSpeed, DeploymentRequest, ExportedVariant, MissingRow, Variant
from exporter.bench.types import BenchRequest, Skipped
from exporter.cli.main import cli
from exporter.errors import CheckFailedError, UnavailableError, UsageError
from exporter.formats import load_artifact
from exporter.requests import ExportRequest
from exporter.types import PrecisionOptions
from exporter.workflows.deployment_table import benchmark_all
from exporter.workflows.export import export
from models.built_model import BuiltModel

EXACT, FAST, SCRIPT = Variant("onnx", "fp32", "cpu"), Variant("onnx", "int8", "cpu"), Variant("torchscript")
FIGURES = {EXACT: (0.1, 119.0), FAST: (0.02, 34.0), SCRIPT: (0.2, 121.0)}


class Seams:
    """Exports nothing and measures nothing: what is found is decided by the test."""

    def __init__(self) -> None:
        self.exported: list[Variant] = [EXACT, FAST, SCRIPT]
        self.missing: list[MissingRow] = []
        self.failing: list[Skipped] = []
        self.folders: list[Path] = []

    def list_variants(self, *_: Any) -> tuple[tuple[Variant, ...], tuple[MissingRow, ...]]:
        return (EXACT, FAST, SCRIPT), (MissingRow("openvino", "not installed", "unavailable"),)

    def export(
        self, _variants: Any, model: BuiltModel, _request: Any, folder: Path, *_progress: Any
    ) -> tuple[tuple[ExportedVariant, ...], tuple[MissingRow, ...]]:
        self.folders.append(folder)
        found = tuple(
            ExportedVariant(one, folder / one.slug / f"{one.slug}.x", 1000, ("onnx: rewritten", *model.notes[:1]))
            for one in self.exported
        )
        return found, tuple(self.missing)

    def measure(self, exported: Sequence[ExportedVariant], *_: Any) -> Measured:
        found = Measured(missing=list(self.failing), notes=["busy"])
        rows = {one.path.name: FIGURES[one.variant] for one in exported} | {"torch eager": (0.3, 130.0)}
        for name, (seconds, snr_db) in rows.items():
            found.engines[name], found.loads[name] = f"engine of {name}", 0.5
            found.speeds[name] = [BatchSpeed(1, seconds, seconds, 1 / seconds, None)]
            found.accuracies[name] = Accuracy(snr_db, 1.0)
        return found


@pytest.fixture
def seams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Seams:
    seams = Seams()
    monkeypatch.setattr(module, "list_variants", seams.list_variants)
    monkeypatch.setattr(module, "export_variants", seams.export)
    monkeypatch.setattr(module, "measure", seams.measure)
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    return seams


REQUEST = DeploymentRequest(SMALL)


def test_rows_are_ordered_marked_and_have_their_commands(seams: Seams) -> None:
    table = benchmark_all(REQUEST)
    assert [row.name for row in table.rows] == ["onnx int8 cpu", "onnx fp32 cpu", str(SCRIPT), "torch eager"]
    assert [row.pareto for row in table.rows] == [True] * 4
    assert (table.recommended, table.exact) == ("onnx int8 cpu", "onnx fp32 cpu")
    fast, _, _, engine = table.rows
    assert 'PrecisionOptions(compute="int8")' in str(fast.command)
    assert (engine.command, engine.bytes, engine.variant) == (None, None, None)
    assert (fast.bytes, fast.load, fast.top1, fast.notes) == (1000, 0.5, 1.0, ("rewritten",))
    assert table.missing == (MissingRow("openvino", "not installed", "unavailable"),)
    assert table.complete
    assert {"build", "export", "measure"} == set(table.seconds)


def test_a_recommendation_that_is_asked_to_be_exact_is(seams: Seams) -> None:
    table = benchmark_all(replace(REQUEST, precision=PrecisionOptions(min_snr=50)))
    assert table.recommended == "onnx fp32 cpu"


def test_what_fails_while_it_is_measured_is_a_row_with_the_reason(seams: Seams) -> None:
    seams.failing = [
        Skipped(f"{FAST.slug}.x", "its process ended by SIGKILL", added=False),
        Skipped("OpenVINO", "not installed", added=True),
    ]
    table = benchmark_all(REQUEST)
    assert "onnx int8 cpu" not in {row.name for row in table.rows}
    assert table.missing[1:] == (
        MissingRow("onnx int8 cpu", "while it was measured: its process ended by SIGKILL", "failed"),
        MissingRow("OpenVINO", "not installed", "unavailable"),
    )
    assert not table.complete


def test_a_complete_run_leaves_nothing_and_an_unfinished_one_its_folder(seams: Seams) -> None:
    assert benchmark_all(REQUEST).folder is None
    seams.missing = [MissingRow("onnx fp16 portable", "not exported in 1 s", "postponed")]
    table = benchmark_all(REQUEST)
    kept = seams.folders[0]
    assert table.folder == seams.folders[1] == kept
    assert kept.is_dir()
    seams.missing = []
    benchmark_all(REQUEST)
    assert not kept.exists()


def test_without_any_export_it_fails_with_the_reason(seams: Seams) -> None:
    seams.exported, seams.missing = [], [MissingRow("onnx fp32 cpu", "9 dB", "failed")]
    with pytest.raises(CheckFailedError, match="no variant could be exported; onnx fp32 cpu: 9 dB"):
        benchmark_all(REQUEST)


def test_a_device_that_nothing_runs_on_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = MissingRow("onnx", "no CUDA; pip install onnxruntime-gpu", "unavailable")
    monkeypatch.setattr(module, "list_variants", lambda *_: ((), (gone,)))
    with pytest.raises(UnavailableError, match="nothing can be exported for cuda: no CUDA; pip install"):
        benchmark_all(replace(REQUEST, measure=BenchRequest((), device="cuda")))


def test_an_artifacts_network_is_built_again_with_its_outputs(seams: Seams, small_video_model: SmallVideoModel) -> None:
    table = benchmark_all(DeploymentRequest(artifact=small_video_model.onnx))
    assert "2 base channels" in table.network
    assert 'outputs=("logits", "fc6")' in str(table.rows[0].command)
    with pytest.raises(UsageError, match="has a manifest that describes its network"):
        benchmark_all(DeploymentRequest(model=replace(SMALL, pool5="right"), artifact=small_video_model.onnx))


def test_what_an_artifacts_manifest_records_is_asked_for_again(
    seams: Seams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(ExportRequest(("torchscript",), SMALL, batch=2, output_dir=tmp_path, name="fixed", verify=False))
    path = tmp_path / "fixed.pt"
    artifact = load_artifact(path)
    assert artifact.manifest is not None
    held_to = {"precision": "bf16", "min_snr": 33.0, "min_top1": 0.5, "calibration": "sha256:ab 24 clips of 3 videos"}
    manifest = replace(artifact.manifest, options=artifact.manifest.options | held_to)
    monkeypatch.setattr(module, "load_artifact", lambda *_: replace(artifact, manifest=manifest))
    table = benchmark_all(DeploymentRequest(artifact=path))
    command = str(table.rows[0].command)
    assert "batch=2" in command
    assert 'PrecisionOptions(compute="int8", min_snr=33.0, min_top1=0.5)' in command
    named = [
        note for note in table.notes if any(fact in note for fact in ("size, 2", "33 dB", "top1", "24 clips of 3"))
    ]
    assert len(named) == 4
    wanted = PrecisionOptions(min_snr=20, min_top1=0.1)
    request = DeploymentRequest(artifact=path, precision=wanted, measure=BenchRequest((), batches=(1, 4)))
    command = str(benchmark_all(request).rows[0].command)
    assert "batch=" not in command
    assert 'PrecisionOptions(compute="int8", min_snr=20, min_top1=0.1)' in command


def test_onnx_files_have_the_opset_and_the_weights_file_of_the_artifact(
    seams: Seams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(ExportRequest(("onnx",), SMALL, opset=20, external_data=True, output_dir=tmp_path, name="n", verify=False))
    path = tmp_path / "n.onnx"
    table = benchmark_all(DeploymentRequest(artifact=path))
    commands = {row.name: str(row.command) for row in table.rows}
    for name in (str(EXACT), str(FAST)):
        assert "opset=20" in commands[name]
        assert "external_data=True" in commands[name]
    assert "opset" not in commands[str(SCRIPT)]
    assert "external_data" not in commands[str(SCRIPT)]
    assert sum("opset, 20" in note or "second file" in note for note in table.notes) == 2
    other = benchmark_all(DeploymentRequest(artifact=path, opset=18, external_data=False))
    assert "opset=18" in str(other.rows[0].command)
    assert "external_data" not in str(other.rows[0].command)
    artifact = load_artifact(path)
    assert artifact.manifest is not None
    for recorded in ({"opset": 21, "weight_dtype": "int8"}, {"opset": 99}, {"opset": True}, {"opset": "20"}):
        manifest = replace(artifact.manifest, options=artifact.manifest.options | recorded)
        monkeypatch.setattr(module, "load_artifact", lambda *_, new=manifest: replace(artifact, manifest=new))
        assert "opset" not in str(benchmark_all(DeploymentRequest(artifact=path)).rows[0].command)


def test_an_opset_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--opset must be between 17 and 28 \(got 5\)"):
        benchmark_all(replace(REQUEST, opset=5))


def test_formats_are_named_once() -> None:
    with pytest.raises(UsageError, match="name each format once: onnx, onnx"):
        benchmark_all(replace(REQUEST, formats=("onnx", "onnx")))


@pytest.mark.heavy
def test_the_command_exports_verifies_measures_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(variants, "PRECISION_ORDER", ("fp32",))  # the others take minutes
    export(ExportRequest(("onnx",), SMALL, output_dir=tmp_path, name="net", verify=False))
    arguments = ["bench", "--all", "net.onnx", "--format", "onnx", "--rounds", "1", "--load-rounds", "1", "--warmup"]
    arguments += ["0", "--batch", "1", "--work-dir", "kept", "--json"]
    first = CliRunner().invoke(cli, [*arguments, "--export-seconds", "0.001"], catch_exceptions=False)
    found = json.loads(first.stdout)
    assert {row["kind"] for row in found["missing"]} == {"postponed"}
    assert len(found["rows"]) == 1
    (kept,) = Path("kept").iterdir()
    model = next(kept.glob("onnx-fp32-cpu/*.onnx"))
    written = model.stat().st_mtime_ns
    second = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    table = json.loads(second.stdout)
    assert model.stat().st_mtime_ns == written
    names = {row["name"] for row in table["rows"]}
    assert {"onnx fp32 cpu", "onnx fp32 portable", "onnx fp32 cpu, int8 weights"} <= names
    assert all(row["snr_db"] > 20 and row["speeds"][0]["median"] > 0 for row in table["rows"])
    assert table["exact"] in ("onnx fp32 cpu", "onnx fp32 portable")
    manifests = [load_artifact(path).manifest for path in kept.glob("*/*.onnx")]
    assert {manifest.parity.passed for manifest in manifests} == {True}  # pyright: ignore[reportOptionalMemberAccess]
