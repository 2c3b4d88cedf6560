"""What is published, and what is not."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.built import c3d

from exporter.artifacts import files
from exporter.artifacts.files import read_manifest
from exporter.errors import UsageError
from exporter.file_state import FileState, hashed_file_state
from exporter.requests import ExportRequest
from exporter.types import FormatName, OptimizeOptions, ParityOptions
from exporter.workflows.candidates import ParityFailedError
from exporter.workflows.export import export
from models.built_model import BuiltModel
from models.c3d import all_outputs


def test_an_artifact_that_fails_is_not_published(tmp_path: Path, narrow: BuiltModel) -> None:
    network = deepcopy(c3d(narrow))
    network.conv3a.weight.data *= 1.01
    faulty = replace(narrow, fuse=lambda: all_outputs(network))
    (tmp_path / "c3d.onnx").write_text("an older artifact")
    with pytest.raises(ParityFailedError, match=r"parity failed for c3d\.onnx; nothing was published") as caught:
        export(
            ExportRequest(("onnx",), model=faulty, output_dir=tmp_path, parity=ParityOptions(input_types=("random",)))
        )
    assert caught.value.exit_code == 1
    assert not caught.value.reports[0].passed
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.onnx"]
    assert (tmp_path / "c3d.onnx").read_text() == "an older artifact"


@pytest.mark.parametrize(
    ("formats", "optimize", "option"),
    [
        (("torchscript",), OptimizeOptions(weight_dtype="fp16"), "--weight-dtype fp16"),
        (("onnx",), OptimizeOptions(autotune=True), "--autotune and --optimize-for"),
        (("onnx",), OptimizeOptions(optimize_for="load"), "--autotune and --optimize-for"),
        (("torchscript",), OptimizeOptions("cpu", autotune=True), "--autotune and --optimize-for"),
    ],
)
def test_options_of_another_format_or_target_are_rejected(
    formats: tuple[FormatName, ...], optimize: OptimizeOptions, option: str
) -> None:
    with pytest.raises(UsageError, match=f"^{option}"):
        export(ExportRequest(formats, optimize=optimize))


def test_a_file_is_hashed_once_and_the_report_has_the_hash_of_the_manifest(
    tmp_path: Path, narrow: BuiltModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full network's is 314 MB, and was hashed for the report and again for the manifest."""
    hashed: list[str] = []

    def count(path: Path) -> FileState:
        hashed.append(path.name)
        return hashed_file_state(path)

    monkeypatch.setattr(files, "hashed_file_state", count)
    random = ParityOptions(input_types=("random",))
    result = export(ExportRequest(("onnx",), model=narrow, output_dir=tmp_path, parity=random, external_data=True))
    listed = {entry.path: entry.sha256 for entry in read_manifest(tmp_path / "c3d.onnx.json").files}
    assert len(listed) == 2
    assert sorted(hashed) == sorted(listed)
    assert result.reports[0].hashes == listed
