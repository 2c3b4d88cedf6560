"""What the user names becomes a model: an artifact as it is, a checkpoint by an export that is kept."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_video_model import PROFILE, SmallVideoModel

from exporter.errors import BadInputError, CheckpointError, UnavailableError, UsageError
from exporter.inference.types import InferenceOptions
from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions
from exporter.workflows import export as export_workflow
from exporter.workflows.export import ExportResult, export
from exporter.workflows.video_model import find_model, is_checkpoint, open_model
from models.builder import build
from models.checkpoints import readers, reading
from models.options import BuildOptions
from models.progress import Progress

OPTIONS = InferenceOptions(preprocess=PROFILE)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(export_workflow, "QUICK", ("random",))  # one input is enough to see that it is verified
    return tmp_path / "cache"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "narrow.pth")


def save(path: Path, seed: int = 0) -> Path:
    network = build(BuildOptions(num_classes=5, base_channels=2, feature_dim=64, seed=seed)).network
    torch.save(network.state_dict(), path)
    return path


def test_an_artifact_is_taken_as_it_is(small_video_model: SmallVideoModel) -> None:
    assert find_model(small_video_model.onnx, OPTIONS) == (small_video_model.onnx, ())
    with open_model(small_video_model.torchscript, OPTIONS) as model:
        assert model.path == small_video_model.torchscript
    with pytest.raises(UsageError, match="--layout"):
        open_model(small_video_model.onnx, OPTIONS, BuildOptions(layout="canonical"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (InferenceOptions(engine="openvino"), "OpenVINO is not installed"),
        (InferenceOptions(device="tensorrt"), "--device tensorrt: "),
    ],
)
def test_a_missing_engine_or_device_is_refused_before_the_checkpoint_is_read(
    options: InferenceOptions, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UnavailableError, match=message):
        find_model("https://example.invalid/c3d.pth", options)


def test_what_is_a_checkpoint(small_video_model: SmallVideoModel, checkpoint: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "state.pt"
    pickled.write_bytes(checkpoint.read_bytes())
    assert is_checkpoint(checkpoint)
    assert is_checkpoint(pickled)
    assert is_checkpoint("https://example.org/c3d.onnx")
    assert not is_checkpoint(small_video_model.torchscript)
    assert not is_checkpoint(small_video_model.onnx.with_name("c3d.onnx.json"))
    assert not is_checkpoint(tmp_path / "none.onnx")


def test_a_checkpoint_is_exported_once(checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    reads: list[Path] = []
    read = readers._read  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(readers, "_read", lambda path: reads.append(path) or read(path))
    path, notes = find_model(checkpoint, OPTIONS, progress=steps.append)
    assert reads == [checkpoint]
    assert path.is_relative_to(cache)
    assert f"{checkpoint}: exported and verified in" in notes[-1]
    assert "writing onnx" in steps
    monkeypatch.setattr(export_workflow, "export", None)  # a second export would fail
    again, notes = find_model(checkpoint, OPTIONS)
    assert again == path
    assert notes[-1] == f"{checkpoint}: exported and verified by an earlier run"
    assert any("pool5" in note for note in notes)  # what was assumed of the network is stated every time
    assert any("--labels" in note for note in notes)
    assert not any("--labels" in note for note in find_model(checkpoint, replace(OPTIONS, labels="ucf101"))[1])
    assert find_model(checkpoint, replace(OPTIONS, outputs=("fc6",)))[0] == path
    for damage in (b"", b"[1, 2]", b'{"a": 1}', b"7", b"[" * 100_000):
        (path.parent / "notes.json").write_bytes(damage)
        assert find_model(checkpoint, replace(OPTIONS, labels="ucf101"))[0] == path
    clip = np.random.default_rng(0).normal(0, 50, (3, 16, 112, 112)).astype(np.float32)
    with open_model(checkpoint, OPTIONS) as model:
        assert not readers._read_ahead  # pyright: ignore[reportPrivateUsage] - no weights are kept in memory
        outputs, record = model.run([clip]), model.record()
    assert record.checkpoint == str(checkpoint)
    assert record.describe().startswith(f"{checkpoint}, exported, in onnxruntime")
    assert {name: rows.shape for name, rows in outputs.items()} == {"logits": (1, 5), "fc6": (1, 64), "fc7": (1, 64)}


def test_what_is_missing_is_said_before_a_checkpoint_is_exported(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(export_workflow, "export", None)  # an export would fail
        with pytest.raises(UsageError, match=r"narrow\.pth: which preprocessing .* --preprocess"):
            open_model(checkpoint)
        with pytest.raises(UsageError, match="no profile caffee"):
            open_model(checkpoint, InferenceOptions(preprocess="caffee"))
        with pytest.raises(UsageError, match="101 names, but the network has 5 classes"):
            open_model(checkpoint, replace(OPTIONS, labels="ucf101"))
        with pytest.raises(BadInputError, match="none.npy"):
            open_model(checkpoint, replace(OPTIONS, mean=Path("none.npy")))
        patch.setitem(sys.modules, "av", None)
        with pytest.raises(UnavailableError, match=r"c3d-export\[video\]"):
            open_model(checkpoint, OPTIONS)
    find_model(checkpoint, OPTIONS)
    with pytest.raises(UsageError, match=r"narrow\.pth: which preprocessing"):  # not the kept file's name
        open_model(checkpoint)


def test_another_content_another_option_or_a_damaged_file_is_exported_again(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[ExportRequest] = []

    def export_quickly(request: ExportRequest, progress: Progress) -> ExportResult:
        requests.append(request)
        return export(replace(request, verify=False, optimize=OptimizeOptions()), progress)

    monkeypatch.setattr(export_workflow, "export", export_quickly)
    path, _ = find_model(checkpoint, OPTIONS)
    right, _ = find_model(checkpoint, OPTIONS, BuildOptions(pool5="right"))
    save(checkpoint, seed=1)
    other, _ = find_model(checkpoint, OPTIONS)
    assert len({path, right, other}) == len(requests) == 3
    assert (requests[0].verify, requests[0].optimize.target) == (True, "cpu")
    content = other.read_bytes()
    other.write_bytes(content[:-1])
    assert find_model(checkpoint, OPTIONS)[0] == other
    assert other.read_bytes() == content
    assert len(requests) == 4


def test_a_checkpoint_that_is_replaced_while_it_is_exported_is_not_kept_as_the_earlier_one(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reading.read_raw

    def read_and_replace(*args: Any, **options: Any) -> Any:
        found = read(*args, **options)
        save(checkpoint, seed=1)
        return found

    monkeypatch.setattr(reading, "read_raw", read_and_replace)
    with pytest.raises(CheckpointError, match="wrong hash"):
        find_model(checkpoint, OPTIONS)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_the_format_is_the_engines(checkpoint: Path) -> None:
    path, _ = find_model(checkpoint, InferenceOptions(preprocess=PROFILE, engine="torchscript"))
    assert path.suffix == ".pt"
    with pytest.raises(UsageError, match="--engine torch"):
        find_model(checkpoint, InferenceOptions(engine="torch"))


def test_where_the_disk_of_the_cache_is_full_the_run_exports_for_itself(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(cache.parent)

    def measure(folder: Path) -> Any:
        return usage._replace(free=1000) if folder.is_relative_to(cache) else usage

    cache.mkdir(exist_ok=True)
    monkeypatch.setattr(shutil, "disk_usage", measure)
    path, notes = find_model(checkpoint, OPTIONS)
    assert path.is_file()
    assert not path.is_relative_to(cache)
    assert str(cache) in notes[-1]
    assert "C3D_EXPORT_CACHE" in notes[-1]


def test_where_the_cache_cannot_be_written_the_run_exports_for_itself(checkpoint: Path, cache: Path) -> None:
    cache.write_text("a file, where the folder should be")
    path, notes = find_model(checkpoint, OPTIONS)
    assert path.is_file()
    assert not path.is_relative_to(cache)
    assert str(cache) in notes[-1]
    assert "not kept" in notes[-1]
    with open_model(path, OPTIONS) as model:
        assert model.path == path
