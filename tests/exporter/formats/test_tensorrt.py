"""`--format tensorrt` from the network to a verified artifact, by a stand-in of TensorRT that runs it on the CPU."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import fake_tensorrt, tiny
from helpers.code_files import own
from helpers.fake_tensorrt import Machine
from helpers.small_video_model import NARROW
from helpers.video_command import KNOWN, VideoCommand

from exporter.artifacts.manifest import Manifest
from exporter.bench.types import BenchRequest
from exporter.calibration_clips import CalibrationClips
from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.engines.tensorrt_library import this_platform
from exporter.errors import IntegrityError, UnavailableError, UsageError
from exporter.formats import FORMATS
from exporter.formats.base import Attempt, WriteRequest
from exporter.formats.tensorrt import ShapeProfile, build_engine, make_profile, timing_cache_path
from exporter.requests import ExportRequest
from exporter.types import DEFAULT_OPSET, BatchProfile, ComputePrecision, ParityOptions, PrecisionOptions
from exporter.workflows.bench import benchmark
from exporter.workflows.export import ExportResult, export
from exporter.workflows.export_checks import MIN_LARGEST_BATCH, check_request
from exporter.workflows.inspect import inspect
from exporter.workflows.self_test import self_test
from exporter.workflows.verify import verify_parity
from models.builder import build
from models.progress import no_progress
from models.specs import TensorSpec

QUICK = ParityOptions(input_types=("random",))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    folder = tmp_path_factory.mktemp("tensorrt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("C3D_EXPORT_CACHE", str(folder / "cache"))
        fake_tensorrt.install(patch)
        request = ExportRequest(("tensorrt",), NARROW, output_dir=folder / "out", parity=QUICK)
        return export(replace(request, batch_profile=BatchProfile(2, 4)))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return fake_tensorrt.install(monkeypatch)


def test_an_engine_is_published_verified_with_its_manifest_beside_it(published: ExportResult) -> None:
    (artifact,), (report,) = published.artifacts, published.reports
    assert sorted(path.name for path in artifact.path.parent.iterdir()) == ["c3d.engine", "c3d.engine.json"]
    assert artifact.path.read_bytes().startswith(fake_tensorrt.MAGIC)  # nothing before the engine itself
    assert (report.passed, report.engine, report.placement.device) == (True, "TensorRT 11.4.0.106 (cuda)", "cuda")
    manifest = Manifest.from_json(artifact.path.with_name("c3d.engine.json").read_text())
    assert manifest == artifact.manifest
    assert (manifest.format, manifest.versions["tensorrt"], manifest.precision) == ("tensorrt", "11.4.0.106", "fp32")
    assert manifest.versions["onnx"]
    expected = {
        "gpu": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "optimization_profile": "clip: 1x3x16x112x112 to 4x3x16x112x112, fastest at 2x3x16x112x112",
        "target": "portable",
    }
    assert expected.items() <= manifest.options.items()
    assert "external_data" not in manifest.options


@pytest.mark.usefixtures("machine")
def test_verify_and_inspect_know_it(published: ExportResult) -> None:
    path = published.artifacts[0].path
    (report,) = verify_parity([path], QUICK)
    assert report.passed
    seen = inspect(path)
    assert (seen.kind, seen.integrity) == ("TensorRT engine", "ok")
    assert seen.manifest == published.artifacts[0].manifest
    assert "NVIDIA H100" in seen.facts["option gpu"]


def test_an_engine_of_another_version_or_gpu_is_refused(
    published: ExportResult, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = published.artifacts[0].path
    machine.gpu = "NVIDIA H200"
    (report,) = verify_parity([path], QUICK)
    assert any(note.startswith("built on NVIDIA H100 80GB HBM3 and run on NVIDIA H200") for note in report.notes)
    machine.gpu, machine.capability = "NVIDIA L4", "8.9"
    with pytest.raises(UnavailableError, match=r"\(compute capability 9\.0\), and here is .* NVIDIA L4") as caught:
        verify_parity([path], QUICK)
    assert caught.value.exit_code == 4
    machine.capability = "9.0"
    monkeypatch.setattr(fake_tensorrt, "__version__", "11.5.0.1")
    with pytest.raises(UnavailableError, match=r"was built by TensorRT 11\.4\.0\.106 .* here is TensorRT 11\.5\.0\.1"):
        verify_parity([path], QUICK)


@pytest.mark.usefixtures("machine")
def test_a_changed_engine_is_not_run(published: ExportResult, tmp_path: Path) -> None:
    for path in published.artifacts[0].files:
        shutil.copy(path, tmp_path)
    with (tmp_path / "c3d.engine").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(IntegrityError, match=r"c3d\.engine is not the file"):
        verify_parity([tmp_path / "c3d.engine"], QUICK)


@pytest.mark.usefixtures("machine")
def test_self_test_asks_for_the_onnx_file(published: ExportResult) -> None:
    with pytest.raises(UsageError, match="export the same network with --format onnx"):
        self_test(published.artifacts[0].path)


def test_without_tensorrt_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("exporter.workflows.export.build", build)
    with pytest.raises(UnavailableError, match="TensorRT is not installed; ") as caught:
        export(ExportRequest(("onnx", "tensorrt"), NARROW, output_dir=tmp_path / "out", verify=False))
    assert (caught.value.exit_code, [*tmp_path.iterdir()]) == (4, [])


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"formats": ("onnx",), "batch_profile": BatchProfile()}, "is an option of --format tensorrt"),
        ({"batch": 2, "batch_profile": BatchProfile()}, "is an option of --format tensorrt"),
        ({"batch_profile": BatchProfile(5, 4)}, "--batch 5:4: needs 1 <= OPTIMAL <= LARGEST"),
        ({"batch_profile": BatchProfile(1, MIN_LARGEST_BATCH - 1)}, "the largest batch that is verified"),
    ],
)
def test_batch_sizes_that_mean_nothing_are_refused(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        check_request(replace(ExportRequest(("tensorrt",)), **changes))


@pytest.mark.usefixtures("machine")
def test_frames_of_any_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--with-preprocess is not available for --format tensorrt"):
        check_request(ExportRequest(("tensorrt",), output_dir=tmp_path, with_preprocess=True))


@pytest.mark.heavy
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("precision", "operator", "least_db"), [("fp16", "Cast", 40.0), ("int8", "QuantizeLinear", 15.0)]
)
def test_an_engine_computes_in_the_graphs_precision(
    precision: ComputePrecision, operator: str, least_db: float, published: ExportResult, tmp_path: Path
) -> None:
    network = build(NARROW)
    drawn = np.random.default_rng(0).standard_normal((3, 3, 16, 112, 112), dtype=np.float32) * 50
    clips = CalibrationClips(drawn[:2], drawn[2:], ("a", "b", "c"), "noise", "0" * 64)
    manifest = published.artifacts[0].manifest.embedded()
    request = WriteRequest("c3d", manifest, DEFAULT_OPSET, precision=PrecisionOptions(precision, 1.0), clips=clips)
    written = next(iter(FORMATS["tensorrt"].candidates(network, request))).write(Attempt(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.engine"]
    graph = onnx.load_from_string(written.files[0].read_bytes().partition(b"\n")[2]).graph
    assert operator in {node.op_type for node in graph.node}
    assert written.manifest.format == "tensorrt"
    with find_engine("tensorrt").open(own(written.files[0]), RuntimeOptions("cuda", precision=precision)) as runtime:
        outputs = runtime.run({"clip": clips.held_out})["logits"].astype(np.float64)
    with torch.inference_mode():
        expected = network.network(torch.from_numpy(clips.held_out)).double().numpy()
    decibels = 10 * np.log10(np.sum(expected**2) / np.sum((outputs - expected) ** 2))
    assert least_db < decibels < 90  # more than its precision costs, and less than float32 has


@pytest.mark.usefixtures("machine")
def test_predict_runs_it(published: ExportResult, video_command: VideoCommand) -> None:
    engine = video_command.run("predict", published.artifacts[0].path, video_command.videos[0], *KNOWN, "--json")
    onnx_file = video_command.predict(video_command.videos[0], "--json")
    assert engine.returncode == 0
    ours, theirs = (json.loads(done.stdout) for done in (engine, onnx_file))
    assert ours["model"]["engine"] == "TensorRT 11.4.0.106 (cuda)"
    scores = [{one["name"]: one["value"] for one in found["videos"][0]["top"]} for found in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@pytest.mark.heavy
def test_bench_runs_it(published: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    support = Path(fake_tensorrt.__file__).parents[1]
    (tmp_path / "tensorrt.py").write_text(
        f"import sys\nimport pytest\nsys.path.append({str(support)!r})\n"
        "from helpers import fake_tensorrt\nfake_tensorrt.install(pytest.MonkeyPatch())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    request = BenchRequest(
        (published.artifacts[0].path,), batches=(2,), device="cuda", rounds=1, seconds=0.1, load_rounds=1
    )
    report = benchmark(request)
    assert (report.targets[0].engine, report.device) == ("TensorRT 11.4.0.106 (cuda)", "cuda")
    assert len(report.measurements) == 1


PROFILE = make_profile(TensorSpec("clip", "float32", ("batch", *tiny.CLIP)), BatchProfile(2, 4))


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    return fake_tensorrt.install(monkeypatch)


def build_plan(path: Path, profile: ShapeProfile | None = PROFILE) -> dict[str, object]:
    """Return what the stand-in writes about an engine."""
    plan = build_engine(path, profile, this_platform(), no_progress)
    return json.loads(plan.partition(b"\n")[0].removeprefix(fake_tensorrt.MAGIC))


@pytest.mark.usefixtures("builder")
def test_an_engine_keeps_the_graphs_types_and_has_a_profile(tmp_path: Path) -> None:
    facts = build_plan(tiny.save(tmp_path / "tiny.onnx"))
    assert facts["profile"] == {"clip": [[size, *tiny.CLIP] for size in (1, 2, 4)]}
    assert (facts["typed"], facts["tf32"]) == (True, False)


@pytest.mark.usefixtures("builder")
def test_a_fixed_batch_needs_no_profile(tmp_path: Path) -> None:
    profile = make_profile(TensorSpec("clip", "float32", (2, *tiny.CLIP)), BatchProfile())
    assert profile is None
    assert build_plan(tiny.save(tmp_path / "tiny.onnx", batch=2), profile)["profile"] == {}


def test_kernel_times_are_kept_by_version_and_gpu(builder: Machine, tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "tiny.onnx")
    build_plan(path)
    build_plan(path)
    kept = timing_cache_path(this_platform())
    kept.write_bytes(b"damaged")
    build_plan(path)
    kept.write_bytes(b'["of another driver"]')
    build_plan(path)
    builder.gpu = "NVIDIA L4"
    build_plan(path)
    assert builder.builds == ("measured", "known", "measured", "measured", "measured")
    assert timing_cache_path(this_platform()) != kept


def test_where_no_timing_cache_can_be_set_the_engine_is_built_too(builder: Machine, tmp_path: Path) -> None:
    builder.refuses_caches = True
    build_plan(tiny.save(tmp_path / "tiny.onnx"))
    assert builder.builds == ("measured",)
    assert not timing_cache_path(this_platform()).exists()


def test_without_a_cache_folder_the_engine_is_built_too(
    builder: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tiny.save(tmp_path / "tiny.onnx") / "no folder"))
    build_plan(tmp_path / "tiny.onnx")
    assert builder.builds == ("measured",)


def test_what_tensorrt_cannot_build_is_told_in_a_line(builder: Machine, tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "tiny.onnx")
    with pytest.raises(UnavailableError, match="cannot build the engine: Network has dynamic inputs"):
        build_plan(path, None)
    builder.unsupported = ("MaxPool",)
    with pytest.raises(UnavailableError) as caught:
        build_plan(path)
    assert str(caught.value) == (
        "TensorRT 11.4.0.106 does not take the graph: "
        "pool1: In node (parseNode): UNSUPPORTED_NODE: no importer registered for op: MaxPool; "
        "pool2: In node (parseNode): UNSUPPORTED_NODE: no importer registered for op: MaxPool"
    )
