"""Fixtures that cost seconds are made once for the whole run."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import onnxruntime
import pytest

from exporter import file_state
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.inputs import make_video_inputs
from exporter.parity.sources import NetworkSource
from exporter.requests import ExportRequest
from exporter.types import QUICK, ParityOptions
from exporter.workflows.export import ExportResult, export
from helpers import small_models
from helpers.colour_videos import write_colours
from helpers.exported import NARROW, ExportedByCommand
from helpers.run import python
from helpers.scripted_server import Script, serve_script
from helpers.signing_keys import write_key
from helpers.small_video_model import SmallVideoModel, make_small_video_model
from helpers.torch_exporter import export_anew, keep_graphs, keep_operator_tables
from helpers.video_command import VideoCommand
from models.builder import build
from models.built_model import BuiltModel
from models.preprocessing.profiles import UNKNOWN

CLOCK_TICK_NS = file_state.CLOCK_TICK_NS
SESSION_OPTIONS: Any = onnxruntime.SessionOptions

hypothesis.settings.register_profile("no deadline", deadline=None)  # how long an example takes is no promise
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the tool records about itself, away from the record of the user who runs the tests."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("C3D_EXPORT_STATE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def idle_machine() -> Iterator[None]:
    """Variants are measured as on an idle machine, whatever else runs beside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.passes.autotune.is_busy", lambda: False)
        patch.setattr("exporter.workflows.optimization.trial.is_busy", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Calls of fsync are made and checked, and return before the disk has done it: 5 ms each, thousands of them.

    What a disk holds after a power failure is computed from the calls (`helpers.power_loss`). Processes of their own sync.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_clock() -> Iterator[None]:
    """A file may be hashed at once after it was written, which no other test than those of `clock_tick` changes then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_state, "CLOCK_TICK_NS", 0)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_threads() -> Iterator[None]:
    """Runs that are timed follow one another at once, without 30 ms for threads of the run before to come to rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.timing.sleep", lambda _seconds: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """In the processes of the whole suite, which have a core each, onnxruntime has one thread where none is asked for.

    Hundreds of sessions of small networks would each start threads, and wait for them.
    """

    def make_options() -> Any:
        options = SESSION_OPTIONS()
        options.intra_op_num_threads = 1
        return options

    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("OMP_NUM_THREADS") == "1":
            patch.setattr(onnxruntime, "SessionOptions", make_options)
        yield


@pytest.fixture
def default_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that compare results with those of another process, bit by bit: these depend on the threads."""
    monkeypatch.setattr(onnxruntime, "SessionOptions", SESSION_OPTIONS)


@pytest.fixture
def clock_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that change a file after it was hashed: the wait that makes any such change visible."""
    monkeypatch.setattr(file_state, "CLOCK_TICK_NS", CLOCK_TICK_NS)


@pytest.fixture(scope="session", autouse=True)
def exported_once() -> Iterator[None]:
    """The tables of operators of torch's exporters, made once for the run, and the graph of each small network."""
    with pytest.MonkeyPatch.context() as patch:
        keep_operator_tables(patch)
        keep_graphs(patch)
        yield


@pytest.fixture
def exported_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that compare exports: none is a copy of an earlier one."""
    export_anew(monkeypatch)


EXPORT = """
import sys
from exporter.cli.main import main
from exporter.workflows import export

export.QUICK = ("random",)
sys.argv = ["c3d-export", "--format", "onnx", "--format", "torchscript"]
main()
"""
"""One of the inputs that the command verifies on, each of which takes the full network ten seconds."""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportedByCommand]:
    """The main job, once, in a process of its own, verification included."""
    folder = tmp_path_factory.mktemp("exported")
    done = python(EXPORT, cwd=folder)
    yield ExportedByCommand(folder, done.stdout, done.stderr, done.returncode)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def built() -> BuiltModel:
    """The full network of seed 0."""
    return build()


@pytest.fixture(scope="session")
def narrow() -> BuiltModel:
    """A C3D of 8 base channels for frames of 48x48, for what does not depend on the size: 2 MB instead of 314."""
    return build(NARROW)


@pytest.fixture(scope="session")
def narrow_artifacts(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The narrow network as ONNX and TorchScript, published without verification."""
    folder = tmp_path_factory.mktemp("narrow")
    return export(ExportRequest(("onnx", "torchscript"), model=NARROW, output_dir=folder, verify=False))


@pytest.fixture(scope="session")
def rewritable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C3D of 16 base channels as ONNX, without verification: wide enough for each pass for CPUs to have work."""
    options = replace(NARROW, base_channels=16, feature_dim=1024)
    folder = tmp_path_factory.mktemp("rewritable")
    return export(ExportRequest(("onnx",), model=options, output_dir=folder, verify=False)).artifacts[0].path


@pytest.fixture(scope="session")
def inputs(narrow: BuiltModel) -> InputSet:
    """The quick inputs of an unknown preprocessing profile."""
    return make_video_inputs(narrow.input, UNKNOWN, ParityOptions(input_types=QUICK))


@pytest.fixture(scope="session")
def golden(inputs: InputSet, narrow: BuiltModel) -> GoldenOutputs:
    """The narrow network's float64 reference on these inputs."""
    golden = GoldenOutputs(NetworkSource(narrow), inputs)
    golden.compute(range(len(inputs.names)))
    return golden


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A small ONNX model that others are compared with."""
    return small_models.network(tmp_path / "theirs.onnx")


@pytest.fixture(scope="session")
def small_video_model(tmp_path_factory: pytest.TempPathFactory) -> SmallVideoModel:
    """A C3D of 2 base channels as ONNX and TorchScript, and its outputs by an independent computation."""
    return make_small_video_model(tmp_path_factory.mktemp("small-video-model"))


@pytest.fixture(scope="session")
def short_videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Videos of 40 frames of 64x48 and of 33 frames of 90x60."""
    folder = tmp_path_factory.mktemp("short-videos")
    return write_colours(folder / "a.mkv"), write_colours(folder / "b.mkv", 33, (90, 60), seed=1)


@pytest.fixture
def video_command(
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> VideoCommand:
    """`predict` and `features` on the small model, in `tmp_path`."""
    return VideoCommand(small_video_model, short_videos, tmp_path, capsys)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of keys for signatures, `ours` and `other`."""
    folder = tmp_path_factory.mktemp("keys")
    write_key(folder, "ours")
    write_key(folder, "other")
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Script, Path]]:
    """A server that replies as its script says, and the file with the certificate to trust it by."""
    script = Script([])
    with serve_script(script, tmp_path_factory.mktemp("server")) as trusted:
        yield script, trusted
