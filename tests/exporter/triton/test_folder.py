"""A model's folder in a Triton repository: what is moved into it, and what another run has put there meanwhile."""

from pathlib import Path

import pytest

from exporter.errors import OutputError
from exporter.triton.folder import CONFIG_FILE, publish_model


def stage(folder: Path, content: str, version: int) -> Path:
    (folder / str(version)).mkdir(parents=True)
    for name in (f"{version}/model.onnx", CONFIG_FILE):
        (folder / name).write_text(content)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_version_that_another_run_has_put_there_meanwhile_stays(tmp_path: Path) -> None:
    model = stage(tmp_path / "model", "first", 1)
    theirs, ours = stage(tmp_path / "theirs", "theirs", 2), stage(tmp_path / "ours", "ours", 2)
    publish_model(theirs, model, 2, is_new=True, replaces=False, whole=False, keep_config=False)
    before = contents(model)
    assert before == {"1/model.onnx": "first", "2/model.onnx": "theirs", CONFIG_FILE: "theirs"}
    with pytest.raises(OutputError, match="cannot write to .*model"):
        publish_model(ours, model, 2, is_new=True, replaces=False, whole=False, keep_config=False)
    assert contents(model) == before


def test_a_version_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    model = stage(tmp_path / "model", "first", 1)
    ours = stage(tmp_path / "ours", "ours", 1)
    publish_model(ours, model, 1, is_new=True, replaces=True, whole=False, keep_config=True)
    assert contents(model) == {"1/model.onnx": "ours", CONFIG_FILE: "first"}
