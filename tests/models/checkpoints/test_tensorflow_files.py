"""Whatever a user gives of a TensorFlow checkpoint leads to its variables, or the missing file is named."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import origins, tf_checkpoint
from helpers.checkpoints import constant_state
from helpers.loaded import load_tensors, store_content
from helpers.small_files import refuse
from helpers.tf_checkpoint import write_v1, write_v2

from exporter.workflows.inspect import inspect
from models.checkpoints.checkpoint import remap_keys
from models.checkpoints.download import ResolvedSource
from models.checkpoints.readers import read_file
from models.checkpoints.readers.base import ReadResult
from models.checkpoints.reading import read_raw
from models.errors import CheckpointError
from models.options import WeightSelection

VARIABLES: "dict[str, np.ndarray[Any, Any]]" = {
    "var_name/wc1": np.arange(6, dtype=np.float32).reshape(2, 3),
    "var_name/bc1": np.arange(3, dtype=np.float32),
    "var_name/wout": np.arange(4, dtype=np.float32),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a training run leaves: a checkpoint of version 2 with its graph, and a state file."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_v2(folder / "model-100", VARIABLES, shards=3)
    (folder / "model-100.meta").write_bytes(b"\x0a\x00")
    state = 'model_checkpoint_path: "/home/user/run/model-100"\nall_model_checkpoint_paths: "/home/user/run/model-50"\n'
    (folder / "checkpoint").write_text(state)
    return folder


def check(given: Path, read: Path) -> None:
    file, raw = read_raw(given)
    assert file.path == read
    assert load_tensors(raw).keys() == VARIABLES.keys()
    assert all(np.array_equal(load_tensors(raw)[name].numpy(), value) for name, value in VARIABLES.items())


@pytest.mark.parametrize(
    "given",
    ["model-100.index", "model-100", "model-100.meta", "model-100.data-00001-of-00003", "checkpoint", ""],
)
def test_every_part_leads_to_the_index(given: str, run: Path) -> None:
    check(run / given, run / "model-100.index")


@pytest.mark.parametrize("given", ["", "saved_model.pb", "variables/variables", "variables"])
def test_a_saved_model(given: str, tmp_path: Path) -> None:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    write_v2(tmp_path / "model" / "variables" / "variables", VARIABLES)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    check(tmp_path / "model" / given, tmp_path / "model" / "variables" / "variables.index")


def test_version_1_has_one_file(tmp_path: Path) -> None:
    write_v1(tmp_path / "c3d.model-7", VARIABLES)
    (tmp_path / "c3d.model-7.meta").write_bytes(b"\x0a\x00")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "c3d.model-7"\n')
    for given in ("c3d.model-7.meta", "checkpoint", ""):
        check(tmp_path / given, tmp_path / "c3d.model-7")


def test_inspect_says_which_file_was_read(run: Path) -> None:
    found = inspect(run / "model-100")
    assert found.path == str(run / "model-100.index")
    assert "model-100.index" in found.facts["note"]


@pytest.mark.parametrize("given", ["model-100.meta", "model-100.data-00001-of-00003", "checkpoint", ""])
def test_a_missing_index_is_named(given: str, run: Path) -> None:
    (run / "model-100.index").unlink()
    with pytest.raises(CheckpointError, match="whose model-100.index is not there") as caught:
        read_raw(run / given)
    assert str(run / given) in str(caught.value)


def test_a_missing_shard_is_named(run: Path) -> None:
    (run / "model-100.data-00002-of-00003").unlink()
    with pytest.raises(CheckpointError, match=r"its data file model-100\.data-00002-of-00003 is not beside it"):
        read_raw(run / "model-100")


def test_several_checkpoints_in_a_folder_are_listed(run: Path) -> None:
    (run / "checkpoint").unlink()
    check(run, run / "model-100.index")
    shutil.copy(run / "model-100.index", run / "model-200.index")
    with pytest.raises(CheckpointError, match="2 TensorFlow checkpoints; give one of model-100.index, model-200.index"):
        read_raw(run)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd"])
def test_a_state_file_leads_nowhere_else(path: str, run: Path) -> None:
    (run / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
    with pytest.raises(CheckpointError, match="whose passwd.index is not there"):
        read_raw(run)
    (run / "checkpoint").write_text('model_checkpoint_path: ".."\n')
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        read_raw(run)


def test_other_files_and_folders_are_read_as_themselves(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "checkpoint")  # a torch file may have this name, too
    assert read_raw(tmp_path / "checkpoint")[1].container == "torch zip"
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="not a file"):
        read_raw(tmp_path / "empty")


@pytest.mark.parametrize("version", [1, 2])
def test_moving_averages_are_a_second_network(version: int, tmp_path: Path) -> None:
    names = origins.tf_names({name: np.zeros(shape, np.float32) for name, shape in TF_SHAPES.items()})
    variables = names | {f"{name}/ExponentialMovingAverage": value for name, value in names.items()}
    path = tmp_path / "c3d.model"
    write_v1(path, variables) if version == 1 else write_v2(path, variables)
    found = read_file(path if version == 1 else tmp_path / "c3d.model.index")
    assert load_tensors(found).keys() == {*names, *(f"ExponentialMovingAverage.{name}" for name in names)}


C3D = constant_state(101)
TF_SHAPES = {f"{layer}.{p}": (2, 1) if p == "weight" else (1,) for layer in origins.SHAPES for p in ("weight", "bias")}


def test_ema_takes_the_averages(tmp_path: Path) -> None:
    plain = {name: value.permute(2, 3, 4, 1, 0) if value.dim() == 5 else value.t() for name, value in C3D.items()}
    names = dict(zip(origins.tf_names({name: np.zeros(1, np.float32) for name in C3D}), plain.values(), strict=True))
    averages = {name: (value.reshape(-1)[:1] + 1).expand(value.shape) for name, value in names.items()}
    content = store_content({**names, "ExponentialMovingAverage": averages})
    raw = ReadResult(content, "TensorFlow V2")
    for ema, key in ((False, ""), (True, "ExponentialMovingAverage")):
        found = remap_keys(ResolvedSource(tmp_path), raw, "hx173149", WeightSelection(ema=ema))
        assert found.chosen.key == key
        assert found.tensors["conv1.bias"][0] == C3D["conv1.bias"][0] + ema


def test_names_of_objects_in_tensorflow_2(tmp_path: Path) -> None:
    name = "layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    write_v2(tmp_path / "weights", {name: np.ones(3, np.float32)})
    assert list(load_tensors(tmp_path / "weights.index")) == ["layer_with_weights-0/kernel"]


def test_text_is_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tf_checkpoint.DTYPES, "float32", 7)  # DT_STRING
    write_v1(tmp_path / "c3d.model", {"w": np.ones(3, np.float32)})
    refuse(tmp_path / "c3d.model", "w has TensorFlow's element type 7")


def test_a_variable_that_the_files_own_list_lacks(tmp_path: Path) -> None:
    path = tmp_path / "c3d.model"
    write_v1(path, {"weights": np.ones(3, np.float32)})
    listed, name, rest = path.read_bytes().partition(b"weights")
    path.write_bytes(listed + name + rest.replace(b"weights", b"strange"))
    refuse(path, "holds 'strange', which its own list of variables does not")
