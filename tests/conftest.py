"""Fixtures that cost seconds are made once for the whole run."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.run import run

from exporter.parity.golden import GoldenOutputs, NetworkSource
from exporter.parity.inputs import QUICK, InputSet, make_video_inputs
from exporter.types import ParityOptions
from models.builder import BuiltModel, build
from models.config import C3DConfig
from models.options import BuildOptions
from models.preprocessing import UNKNOWN


@dataclass(frozen=True)
class ExportedByCommand:
    """What `c3d-export --format onnx --format torchscript` left in ./artifacts, and what it printed."""

    folder: Path
    stdout: str
    stderr: str
    code: int

    @property
    def onnx(self) -> Path:
        """The ONNX file."""
        return self.folder / "artifacts" / "c3d.onnx"

    @property
    def torchscript(self) -> Path:
        """The TorchScript file."""
        return self.folder / "artifacts" / "c3d.pt"


@pytest.fixture(scope="session")
def kept_truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the truth is kept (`--cache`): the whole run computes it once for each clip."""
    return tmp_path_factory.mktemp("truth")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, kept_truth: Path) -> Iterator[ExportedByCommand]:
    """The main job, once, as a user starts it, verification included."""
    folder = tmp_path_factory.mktemp("exported")
    done = run("c3d-export", "--format", "onnx", "--format", "torchscript", "--cache", kept_truth, cwd=folder)
    yield ExportedByCommand(folder, done.stdout, done.stderr, done.returncode)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def built() -> BuiltModel:
    """The network of seed 0. Nobody changes it."""
    return build(BuildOptions(seed=0))


@pytest.fixture(scope="session")
def pool() -> InputSet:
    """The clips that verification draws for it."""
    return make_video_inputs(C3DConfig().input, UNKNOWN, ParityOptions(input_types=QUICK))


@pytest.fixture(scope="session")
def truth(pool: InputSet, kept_truth: Path) -> GoldenOutputs:
    """The float64 reference on these clips."""
    truth = GoldenOutputs(NetworkSource(build(BuildOptions(seed=0))), pool, kept_truth)
    truth.ensure(range(len(pool.names)))
    return truth
