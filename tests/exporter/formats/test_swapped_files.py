"""A model file that is swapped at the worst moment: after it was hashed, and before its engine opens it."""

import shutil
from pathlib import Path

import pytest

from exporter.engines import find_engine
from exporter.errors import IntegrityError
from exporter.formats import load_artifact, runtime_options
from exporter.workflows.export import ExportResult


@pytest.mark.usefixtures("clock_tick")
@pytest.mark.parametrize("how", ["replaced", "written in place"])
def test_a_file_that_is_swapped_before_its_engine_opens_it(
    how: str, narrow_artifacts: ExportResult, tmp_path: Path
) -> None:
    for path in narrow_artifacts.artifacts[0].files:
        shutil.copy(path, tmp_path)
    artifact = load_artifact(tmp_path / "c3d.onnx")
    runtime = find_engine("onnx").open(artifact.path, runtime_options(artifact))
    if how == "replaced":
        shutil.copy(artifact.path, tmp_path / "other")
        (tmp_path / "other").replace(artifact.path)
    else:
        shutil.copyfile(narrow_artifacts.artifacts[0].path, artifact.path)
    with pytest.raises(IntegrityError, match="c3d.onnx was changed while it was in use"):
        runtime.load()
    with pytest.raises(IntegrityError):
        artifact.require_unchanged()
