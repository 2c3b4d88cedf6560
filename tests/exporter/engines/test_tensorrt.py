"""Engine files in TensorRT, by a stand-in of it that runs them on the CPU."""

from pathlib import Path

import numpy as np
import pytest
from helpers import fake_tensorrt, tiny
from helpers.code_files import own
from helpers.fake_tensorrt import Machine

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.engines.tensorrt import TensorRtRuntime
from exporter.engines.tensorrt_library import this_platform
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError, UsageError
from exporter.formats.tensorrt import ShapeProfile, build_engine
from models.progress import no_progress
from models.specs import TensorSpec

CUDA = RuntimeOptions("cuda")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    return fake_tensorrt.install(monkeypatch)


@pytest.fixture
def engine(machine: Machine, tmp_path: Path) -> Path:
    """An engine for 1 to 4 clips."""
    profile = ShapeProfile("clip", ((1, *tiny.CLIP), (2, *tiny.CLIP), (4, *tiny.CLIP)))
    path = tmp_path / "tiny.engine"
    path.write_bytes(build_engine(tiny.save(tmp_path / "tiny.onnx"), profile, this_platform(), no_progress))
    return own(path)


def test_it_returns_the_networks_outputs(engine: Path) -> None:
    clips = tiny.clips(3)
    clips.flags.writeable = False
    with find_engine("tensorrt").open(engine, CUDA) as runtime:
        assert runtime.signature.inputs == (TensorSpec("clip", "float32", ("?", *tiny.CLIP)),)
        assert runtime.signature.outputs == (TensorSpec("logits", "float32", ("?", 5)),)
        assert runtime.description == "TensorRT 11.4.0.106 (cuda)"
        assert (runtime.placement.device, runtime.placement.nodes, runtime.precision) == ("cuda", 12, "float32")
        for batch in (clips, clips[:1], clips[:, :, ::-1]):
            logits = runtime.run({"clip": batch})["logits"]
            assert np.abs(logits - tiny.Tiny()(batch.copy())).max() < 1e-5


def test_a_batch_outside_the_profile_is_refused(engine: Path) -> None:
    with (
        TensorRtRuntime(engine, CUDA) as runtime,
        pytest.raises(CheckFailedError, match=r"takes clip of \(1, 3, .*--batch"),
    ):
        runtime.run({"clip": tiny.clips(5)})


def test_what_cannot_be_run_is_told_in_a_line(engine: Path, machine: Machine) -> None:
    with pytest.raises(UsageError, match="compare layers in the ONNX file"):
        TensorRtRuntime(engine, RuntimeOptions("cuda", all_outputs=True)).load()
    machine.capability = "8.6"
    with pytest.raises(ArtifactError, match="TensorRT rejects it: The engine plan file is not compatible"):
        TensorRtRuntime(engine, CUDA).load()
    engine.write_bytes(b"an older artifact")
    with pytest.raises(ArtifactError, match="TensorRT rejects it: .*magicTag"):
        TensorRtRuntime(own(engine), CUDA).load()
    machine.driver = False
    with pytest.raises(UnavailableError, match="cannot start here"):
        TensorRtRuntime(engine, CUDA).load()
