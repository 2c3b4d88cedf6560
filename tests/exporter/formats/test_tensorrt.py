"""`--format tensorrt` from the network to a verified artifact, by a stand-in of TensorRT that runs it on the CPU."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import fake_tensorrt
from helpers.fake_tensorrt import Machine
from helpers.small_video_model import NARROW

from exporter.artifacts.manifest import Manifest
from exporter.errors import IntegrityError, UnavailableError, UsageError
from exporter.types import BatchProfile, ExportRequest, ParityOptions
from exporter.workflows.export import ExportResult, check_request, export
from exporter.workflows.export_checks import MIN_LARGEST_BATCH
from exporter.workflows.inspect import inspect
from exporter.workflows.self_test import self_test
from exporter.workflows.verify import verify_parity

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
    assert "gpu NVIDIA H100" in seen.facts["options"]


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
    request = ExportRequest(("tensorrt",), replace(NARROW, preprocess="jfzhang95"), output_dir=tmp_path, verify=False)
    with pytest.raises(UsageError, match="--with-preprocess is not available for --format tensorrt"):
        export(replace(request, with_preprocess=True))
