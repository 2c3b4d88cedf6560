"""A training script is recognised by what it writes beside the weights, and by nothing less."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import jfzhang95_training, narrow_state

from models.checkpoints import read_checkpoint
from models.checkpoints.wrappers import is_jfzhang95_training
from models.class_names import get_class_names


@pytest.mark.parametrize("epochs", [1, 25])
@pytest.mark.parametrize(("classes", "names"), [(101, "ucf101-sorted"), (51, "hmdb51"), (7, None)])
def test_jfzhang95_s_training_states_its_conventions(
    epochs: int, classes: int, names: str | None, tmp_path: Path
) -> None:
    torch.save(jfzhang95_training(narrow_state(classes), epochs), tmp_path / "C3D-ucf101_epoch-0.pth.tar")
    found = read_checkpoint(tmp_path / "C3D-ucf101_epoch-0.pth.tar")
    assert (found.layout.name, found.pool5, found.preprocessing.name) == (
        "jfzhang95-training",
        "symmetric",
        "jfzhang95",
    )
    assert found.class_names == (get_class_names(names) if names else None)
    assert any("--layout identity" in note for note in found.notes)
    plain = read_checkpoint(tmp_path / "C3D-ucf101_epoch-0.pth.tar", "identity")
    assert (plain.pool5, plain.preprocessing.name, plain.class_names) == (None, "unknown", None)


def _one_group(content: dict[str, Any]) -> None:
    groups = content["opt_dict"]["param_groups"]
    groups[0]["params"] += groups.pop()["params"]


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another key": lambda c: c.update(best=0.5),
    "no epoch": lambda c: c.pop("epoch"),
    "another name of the optimizer": lambda c: c.update(optimizer=c.pop("opt_dict")),
    "an optimizer of another kind": lambda c: c.update(opt_dict={"lr": 0.1}),
    "one group": _one_group,
    "one learning rate": lambda c: c["opt_dict"]["param_groups"][1].update(lr=c["opt_dict"]["param_groups"][0]["lr"]),
    "no learning rate": lambda c: c["opt_dict"]["param_groups"][1].update(lr="fast"),
    "other groups": lambda c: c["opt_dict"]["param_groups"].reverse(),
    "no dict": lambda c: c.update(opt_dict=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_anything_else_is_not_its(change: str, tmp_path: Path) -> None:
    content = copy.deepcopy(jfzhang95_training(narrow_state(101)))
    CHANGES[change](content)
    assert not is_jfzhang95_training(content)
    torch.save(content, tmp_path / "c3d.pth.tar")
    found = read_checkpoint(tmp_path / "c3d.pth.tar")
    assert (found.layout.name, found.class_names) == ("identity", None)


@pytest.mark.parametrize("content", [None, [], {}, "epoch", {1: 2}])
def test_other_files(content: object) -> None:
    assert not is_jfzhang95_training(content)
