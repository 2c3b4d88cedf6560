"""Of several networks in a file, the usual one is loaded, and none is guessed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.selection import parse_options
from torch import Tensor

from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.selection import AVERAGE, OPTIMIZER
from models.errors import CheckpointError, UsageError
from models.options import WeightSelection

State = dict[str, Tensor]


def by_layer(state: State) -> dict[str, State]:
    """One dict for each layer."""
    layers: dict[str, State] = {}
    for name, value in state.items():
        layer, parameter = name.split(".")
        layers.setdefault(layer, {})[parameter] = value
    return layers


def prefixed(**prefixes: int) -> State:
    return {f"{p}.{name}": value for p, seed in prefixes.items() for name, value in narrow_state(seed=seed).items()}


S, T = narrow_state(seed=1), narrow_state(seed=2)


@pytest.mark.parametrize(
    ("content", "key", "prefix"),
    [
        ({"net_state_dict": S}, "net_state_dict", ""),
        ({"params": S, "epoch": 3}, "params", ""),
        ({"module": S}, "module", ""),
        ({"net": {"state_dict": S}}, "net.state_dict", ""),
        ([S, {"lr": 0.1}], "0", ""),
        ((3, {"x": S}), "1.x", ""),
        ({"n": by_layer(S)}, "n", ""),
        ({"ema": S}, "ema", ""),
        ({"state_dict": S, "state_dict_ema": T}, "state_dict", ""),
        ({"ema": {"decay": torch.ones(()), "shadow": T}, "net_params": S}, "net_params", ""),
        ({"model": S, "optimizer": {"velocity": T}}, "model", ""),
        ({"generator": S, "g_optim": T}, "generator", ""),
        ({"solver": {"model": S}}, "solver.model", ""),
        ({"state_dict": S, "model": T}, "state_dict", ""),
        (
            {"state_dict": {"n_averaged": torch.ones(()), **{f"module.{k}": v for k, v in S.items()}}},
            "state_dict",
            "module.",
        ),
        (prefixed(model=1, model_ema=2), "", "model."),
        ({"best": S, "other": {"conv1.weight": T["conv1.weight"]}}, "best", ""),
    ],
)
def test_the_usual_network_is_found_wherever_it_is(content: Any, key: str, prefix: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "c3d.pth")
    checkpoint = read_checkpoint(tmp_path / "c3d.pth")
    assert (checkpoint.chosen.key, checkpoint.chosen.prefix) == (key, prefix)
    assert checkpoint.tensors.keys() == S.keys()
    assert torch.equal(checkpoint.tensors["fc8.weight"], S["fc8.weight"])


TWINS: dict[str, Any] = {
    "two streams": prefixed(rgb=1, flow=2),
    "two encoders": {"state_dict": prefixed(**{"module.encoder_q": 1, "module.encoder_k": 2})},
    "student and teacher": {"student": S, "teacher": T},
    "list": [S, T],
    "key and prefix": {"a": prefixed(x=1, y=2), "b": prefixed(x=3, y=4)},
}


@pytest.mark.parametrize("case", TWINS)
def test_none_of_several_equal_networks_is_guessed_and_each_can_be_chosen(case: str, tmp_path: Path) -> None:
    torch.save(TWINS[case], tmp_path / "c3d.pth")
    with pytest.raises(
        CheckpointError, match=r"holds [24] networks, none of which is the usual one; choose with"
    ) as caught:
        read_checkpoint(tmp_path / "c3d.pth")
    offered = re.split(", | or ", str(caught.value).partition("choose with ")[2])
    found: set[float] = set()
    for offer in offered:
        selection = parse_options(offer, tmp_path / "c3d.pth").selection
        found.add(float(read_checkpoint(tmp_path / "c3d.pth", selection=selection).tensors["fc8.bias"][0]))
    assert len(found) == len(offered) == (4 if case == "key and prefix" else 2)


def test_the_network_that_was_not_taken_is_named_with_its_option(tmp_path: Path) -> None:
    torch.save({"state_dict": S, "state_dict_ema": T}, tmp_path / "c3d.pth")
    usual = read_checkpoint(tmp_path / "c3d.pth")
    assert usual.notes == (
        "the file holds 2 networks; this is the one under 'state_dict', another is taken by --key state_dict_ema",
    )
    for selection in (WeightSelection(key="state_dict_ema"), WeightSelection(ema=True)):
        other = read_checkpoint(tmp_path / "c3d.pth", selection=selection)
        assert torch.equal(other.tensors["fc8.weight"], T["fc8.weight"])
    with pytest.raises(
        UsageError, match="--key 'state': no such network in the file.*'state_dict'; under 'state_dict_ema'"
    ):
        read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(key="state"))


@pytest.mark.parametrize("key", [None, "model", "best.ema"])
def test_one_dict_under_two_keys_is_one_network_under_either(key: str | None, tmp_path: Path) -> None:
    torch.save({"model": S, "best": {"ema": S}}, tmp_path / "c3d.pth")
    checkpoint = read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(key=key))
    assert checkpoint.notes == ("its tensors are under 'model' and 'best.ema', which are the same dict",)
    assert read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(ema=True)).chosen == checkpoint.chosen


def test_a_usual_network_that_lacks_layers_of_another_is_not_taken_unasked(tmp_path: Path) -> None:
    convolutions = {name: value for name, value in S.items() if name.startswith("conv")}
    torch.save({"model": convolutions, "teacher": T}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match=r"the usual one, under 'model', has no fc6, fc7, fc8, which another has"):
        read_checkpoint(tmp_path / "c3d.pth")
    for key, count in (("model", 16), ("teacher", 22)):
        assert len(read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(key=key)).tensors) == count


@pytest.mark.parametrize(
    "name", ["ema", "model_ema", "state_dict_ema", "ema.shadow", "swa_model", "ExponentialMovingAverage"]
)
def test_averages_are_known_by_name(name: str) -> None:
    assert AVERAGE.search(name)


@pytest.mark.parametrize("name", ["schema", "gemara", "model", "cinema.net", "shadows_off"])
def test_other_names_are_no_averages(name: str) -> None:
    assert not AVERAGE.search(name)


@pytest.mark.parametrize(
    "name", ["optimizer.state.0.exp_avg", "optimizer_state_dict.x", "opt_dict.a", "g_optim.m", "optimizer/x"]
)
def test_optimizers_are_known_by_name(name: str) -> None:
    assert OPTIMIZER.search(name)


@pytest.mark.parametrize("name", ["model.conv1.weight", "option.x", "optical_flow.conv1.weight", "adopt.x"])
def test_other_names_are_no_optimizers(name: str) -> None:
    assert not OPTIMIZER.search(name)


def test_a_prefix_is_known_without_its_dot(tmp_path: Path) -> None:
    torch.save(prefixed(rgb=1, flow=2), tmp_path / "c3d.pth")
    checkpoint = read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(prefix="flow"))
    assert torch.equal(checkpoint.tensors["fc8.weight"], T["fc8.weight"])


@pytest.mark.parametrize("prefix", ["model._orig_mod.", "model._orig_mod", "model.", "model"])
def test_a_prefix_is_known_with_and_without_wrappers(prefix: str, tmp_path: Path) -> None:
    names = {f"model._orig_mod.{name}": value for name, value in S.items()}
    torch.save({**names, **{f"other.{name}": value for name, value in T.items()}}, tmp_path / "c3d.pth")
    found = read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(prefix=prefix))
    assert torch.equal(found.tensors["conv1.weight"], S["conv1.weight"])


def test_a_key_map_and_a_pattern_may_name_wrappers(tmp_path: Path) -> None:
    names = {f"c.{name}".replace(".", "._orig_mod.", 2): value for name, value in S.items()}
    names = {name.replace("c._orig_mod.conv1.", "c._orig_mod.first."): value for name, value in names.items()}
    torch.save({**names, "c._orig_mod.scale._orig_mod.w": torch.ones(1)}, tmp_path / "c3d.pth")
    selection = WeightSelection(key_map=("first._orig_mod=conv1",), ignore=("c._orig_mod.scale._orig_mod.*",))
    assert torch.equal(
        read_checkpoint(tmp_path / "c3d.pth", selection=selection).tensors["conv1.bias"], S["conv1.bias"]
    )
