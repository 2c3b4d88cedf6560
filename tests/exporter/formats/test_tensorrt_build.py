"""Building engines, by a stand-in of TensorRT."""

import json
from pathlib import Path

import pytest
from helpers import fake_tensorrt, tiny
from helpers.fake_tensorrt import Machine

from exporter.engines.tensorrt_library import this_platform
from exporter.errors import UnavailableError
from exporter.formats.tensorrt_build import ShapeProfile, build_engine, make_profile, timing_cache_path
from exporter.types import BatchProfile
from models.progress import no_progress
from models.specs import TensorSpec

PROFILE = make_profile(TensorSpec("clip", "float32", ("batch", *tiny.CLIP)), BatchProfile(2, 4))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    return fake_tensorrt.install(monkeypatch)


def build(path: Path, profile: ShapeProfile | None = PROFILE) -> dict[str, object]:
    """Return what the stand-in writes about an engine."""
    plan = build_engine(path, profile, this_platform(), no_progress)
    return json.loads(plan.partition(b"\n")[0].removeprefix(fake_tensorrt.MAGIC))


@pytest.mark.usefixtures("machine")
def test_an_engine_keeps_the_graphs_types_and_has_a_profile(tmp_path: Path) -> None:
    facts = build(tiny.save(tmp_path / "tiny.onnx"))
    assert facts["profile"] == {"clip": [[size, *tiny.CLIP] for size in (1, 2, 4)]}
    assert (facts["typed"], facts["tf32"]) == (True, False)


@pytest.mark.usefixtures("machine")
def test_a_fixed_batch_needs_no_profile(tmp_path: Path) -> None:
    profile = make_profile(TensorSpec("clip", "float32", (2, *tiny.CLIP)), BatchProfile())
    assert profile is None
    assert build(tiny.save(tmp_path / "tiny.onnx", batch=2), profile)["profile"] == {}


def test_kernel_times_are_kept_by_version_and_gpu(machine: Machine, tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "tiny.onnx")
    build(path)
    build(path)
    kept = timing_cache_path(this_platform())
    kept.write_bytes(b"damaged")
    build(path)
    kept.write_bytes(b'["of another driver"]')
    build(path)
    machine.gpu = "NVIDIA L4"
    build(path)
    assert machine.builds == ("measured", "known", "measured", "measured", "measured")
    assert timing_cache_path(this_platform()) != kept


def test_where_no_timing_cache_can_be_set_the_engine_is_built_too(machine: Machine, tmp_path: Path) -> None:
    machine.refuses_caches = True
    build(tiny.save(tmp_path / "tiny.onnx"))
    assert machine.builds == ("measured",)
    assert not timing_cache_path(this_platform()).exists()


def test_without_a_cache_folder_the_engine_is_built_too(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tiny.save(tmp_path / "tiny.onnx") / "no folder"))
    build(tmp_path / "tiny.onnx")
    assert machine.builds == ("measured",)


def test_what_tensorrt_cannot_build_is_told_in_a_line(machine: Machine, tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "tiny.onnx")
    with pytest.raises(UnavailableError, match="cannot build the engine: Network has dynamic inputs"):
        build(path, None)
    machine.unsupported = ("MaxPool",)
    with pytest.raises(UnavailableError) as caught:
        build(path)
    assert str(caught.value) == (
        "TensorRT 11.4.0.106 does not take the graph: "
        "pool1: In node (parseNode): UNSUPPORTED_NODE: no importer registered for op: MaxPool; "
        "pool2: In node (parseNode): UNSUPPORTED_NODE: no importer registered for op: MaxPool"
    )
