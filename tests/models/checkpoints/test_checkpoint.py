"""What a file's names prove about its weights' conventions, and what of a file is reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import origins
from helpers.built import checkpoint, profile
from helpers.checkpoints import narrow_state
from safetensors.torch import save_file
from torch import Tensor

from models import build
from models.checkpoints.checkpoint import read_checkpoint
from models.errors import CheckpointError, UsageError
from models.options import BuildOptions, WeightSelection

CAFFE = {"conv1": "conv1a", "conv2": "conv2a"}
State = dict[str, Tensor]


def named(layers: dict[str, str], classes: int = 5) -> State:
    return origins.renamed(layers, (".weight", ".bias"), narrow_state(classes))


def save_torch(state: State, path: Path) -> None:
    torch.save(state, path)


def save_npz(state: State, path: Path) -> None:
    arrays: dict[str, Any] = {name: value.numpy() for name, value in state.items()}
    np.savez(path, **arrays)


def save_caffe(state: State, path: Path) -> None:
    origins.write_caffe(path, {name: value.numpy() for name, value in state.items()}, "C3D-v1.0")


@pytest.mark.parametrize(
    ("name", "save"), [("c3d.pth", save_torch), ("c3d.safetensors", save_file), ("c3d.npz", save_npz)]
)
def test_caffe_s_names_in_other_containers_prove_nothing(
    name: str, save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    save(named(CAFFE), tmp_path / name)
    built = build(BuildOptions(weights=tmp_path / name))
    assert (checkpoint(built).layout, checkpoint(built).pool5, profile(built)) == ("caffe-names", None, "unknown")
    assert built.setting_sources["pool5"] == "default"
    assert any("does not state its pool5 convention" in note for note in built.notes)


def test_caffe_s_own_container_states_its_conventions(tmp_path: Path) -> None:
    save_caffe(narrow_state(), tmp_path / "c3d.caffemodel")
    built = build(BuildOptions(weights=tmp_path / "c3d.caffemodel"))
    assert (checkpoint(built).layout, checkpoint(built).pool5, profile(built)) == ("caffe", "right", "caffe-sports1m")


def test_naming_the_layout_states_its_conventions(tmp_path: Path) -> None:
    torch.save(named(CAFFE), tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", layout="caffe"))
    assert (checkpoint(built).pool5, profile(built)) == ("right", "caffe-sports1m")


@pytest.mark.parametrize(
    ("classes", "found"), [(487, ("jfzhang95", "symmetric", "jfzhang95")), (12, ("sequential", None, "unknown"))]
)
def test_a_published_file_is_known_by_its_class_count(
    classes: int, found: tuple[str, str | None, str], tmp_path: Path
) -> None:
    torch.save(named(origins.JFZHANG95, classes), tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth"))
    assert (checkpoint(built).layout, checkpoint(built).pool5, profile(built)) == found


def test_mmaction_0_pools_as_caffe_does_and_its_backbone_alone_proves_nothing(tmp_path: Path) -> None:
    layers = {name: f"backbone.{CAFFE.get(name, name)}" for name in origins.SHAPES}
    torch.save({"state_dict": named(layers | {"fc8": "cls_head.fc_cls"})}, tmp_path / "whole.pth")
    torch.save({k: v for k, v in named(layers).items() if "fc8" not in k}, tmp_path / "backbone.pth")
    whole, backbone = (read_checkpoint(tmp_path / f"{name}.pth") for name in ("whole", "backbone"))
    assert (whole.layout.name, whole.pool5, whole.preprocessing.name) == ("mmaction", "right", "unknown")
    assert (backbone.layout.name, backbone.pool5) == ("caffe-names", None)


def test_a_network_of_one_s_own_under_a_named_keras_layout_has_no_profile(tmp_path: Path) -> None:
    state = {name: value.numpy() for name, value in narrow_state(7).items()}
    keras = {
        name: origins.keras_kernel(value) if value.ndim == 5 else value.T if value.ndim == 2 else value
        for name, value in state.items()
    }
    origins.write_keras(tmp_path / "c3d.h5", keras, 2)
    named_layout = read_checkpoint(tmp_path / "c3d.h5", "adamcasson")
    assert (named_layout.pool5, named_layout.preprocessing.name) == ("symmetric", "unknown")
    with pytest.raises(CheckpointError, match=r"its layout must be named: .*--layout adamcasson"):
        read_checkpoint(tmp_path / "c3d.h5")


def test_an_assumed_key_and_prefix_and_head_are_stated(tmp_path: Path) -> None:
    state = {f"module.{name.replace('fc8', 'fc8_new')}": value for name, value in narrow_state().items()}
    torch.save({"net": {"weights": state}}, tmp_path / "c3d.pth")
    notes = build(BuildOptions(weights=tmp_path / "c3d.pth")).notes
    assert "its tensors are under 'net.weights' with the prefix 'module.'" in notes
    assert "fc8_new.weight is taken for fc8.weight" in notes


@pytest.mark.parametrize(
    "selection",
    [
        WeightSelection(key="modle"),
        WeightSelection(prefix="x."),
        WeightSelection(ema=True),
        WeightSelection(key_map=("head=fc8",)),
        WeightSelection(key_map=("head=tail",)),
    ],
)
def test_a_selection_that_the_file_has_not_is_wrong_usage(selection: WeightSelection, tmp_path: Path) -> None:
    torch.save({"model": narrow_state()}, tmp_path / "c3d.pth")
    with pytest.raises(UsageError):
        build(BuildOptions(weights=tmp_path / "c3d.pth", selection=selection))


def test_a_selection_needs_a_checkpoint() -> None:
    with pytest.raises(UsageError, match="need --weights"):
        build(BuildOptions(selection=WeightSelection(key="model")))


def test_what_was_taken_is_recorded_so_that_it_is_found_again(tmp_path: Path) -> None:
    torch.save({"a": narrow_state(seed=1), "b": narrow_state(seed=2) | {"t": torch.ones(1)}}, tmp_path / "c3d.pth")
    options = BuildOptions(weights=tmp_path / "c3d.pth", selection=WeightSelection(key="b", ignore=("t",)))
    first = build(options)
    assert checkpoint(first).selection == WeightSelection(key="b", prefix="", ignore=("t",))
    assert torch.equal(first.network.state_dict()["fc8.weight"], narrow_state(seed=2)["fc8.weight"])
