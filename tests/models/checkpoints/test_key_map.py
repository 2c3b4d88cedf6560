"""Names that no table knows are explained by the user, or guessed only where shapes leave no doubt."""

from pathlib import Path

import pytest
import torch
from helpers.checkpoints import narrow_state

from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.key_map import HEADS, KeyMap, parse_key_map, suggest_key_map
from models.errors import CheckpointError, UsageError
from models.options import WeightSelection


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("regressor=fc8", ("regressor", "fc8")),
        ("fc8=regressor", ("regressor", "fc8")),
        ("fc7=fc8", ("fc7", "fc8")),
        (" head.0 = fc6 ", ("head.0", "fc6")),
        ("head.weight=fc8.weight", ("head.weight", "fc8.weight")),
        ("norm1=bn1", ("norm1", "bn1")),
    ],
)
def test_either_order_is_read_where_one_side_is_a_name_of_the_network(text: str, entry: tuple[str, str]) -> None:
    assert parse_key_map([text]) == KeyMap((entry,))


@pytest.mark.parametrize("text", ["regressor", "a=b", "=fc8", "x=fc9", "x=fc8.gamma"])
def test_what_is_no_entry_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="write OLD=NEW"):
        parse_key_map([text])


def test_a_layer_brings_its_parameters_whatever_they_are_called() -> None:
    found = parse_key_map(["a.b=fc8", "c.gain=bn1.weight"]).find(
        ["m.a.b.weight", "a.b/bias:0", "c.gain", "a.bc.weight"]
    )
    assert found == {"m.a.b.weight": "fc8.weight", "a.b/bias:0": "fc8.bias", "c.gain": "bn1.weight"}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("old", ["regressor", "{prefix}regressor"])
def test_a_mapped_head_is_fc8(prefix: str, old: str, tmp_path: Path) -> None:
    state = {prefix + name.replace("fc8", "regressor"): value for name, value in narrow_state().items()}
    torch.save({"model": state}, tmp_path / "c3d.pth")
    selection = WeightSelection(key_map=(f"{old.format(prefix=prefix)}=fc8",))
    checkpoint = read_checkpoint(tmp_path / "c3d.pth", selection=selection)
    tensors = checkpoint.tensors
    (note,) = (note for note in checkpoint.notes if note.startswith("by --key-map: "))
    assert f"{prefix}regressor.weight is fc8.weight" in note
    assert torch.equal(tensors["fc8.weight"], narrow_state()["fc8.weight"])
    assert tensors.keys() == narrow_state().keys()


def test_a_mapped_tensor_goes_before_the_one_that_has_the_name(tmp_path: Path) -> None:
    state = narrow_state()
    torch.save(state | {"new.weight": state["fc8.weight"] + 1, "new.bias": state["fc8.bias"]}, tmp_path / "c3d.pth")
    selection = WeightSelection(key_map=("new=fc8",), ignore=("fc8.*",))
    checkpoint = read_checkpoint(tmp_path / "c3d.pth", selection=selection)
    assert torch.equal(checkpoint.tensors["fc8.weight"], state["fc8.weight"] + 1)
    assert checkpoint.extra.ignored == ("fc8.weight", "fc8.bias")


@pytest.mark.parametrize("head", HEADS)
def test_a_head_under_another_usual_name_is_fc8(head: str, tmp_path: Path) -> None:
    state = {f"model.{name.replace('fc8', head)}": value for name, value in narrow_state().items()}
    torch.save(state, tmp_path / "c3d.pth")
    assert torch.equal(read_checkpoint(tmp_path / "c3d.pth").tensors["fc8.weight"], narrow_state()["fc8.weight"])


def test_a_head_beside_two_networks_does_not_make_them_one(tmp_path: Path) -> None:
    bodies = {name: value for name, value in narrow_state().items() if not name.startswith("fc8")}
    two = {f"{stream}.{name}": value for stream in ("rgb", "flow") for name, value in bodies.items()}
    torch.save(two | {"head.weight": narrow_state()["fc8.weight"]}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="holds 2 networks"):
        read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(key_map=("head=fc8",)))


def test_of_two_possible_heads_none_is_taken(tmp_path: Path) -> None:
    state = {name.replace("fc8", "out"): value for name, value in narrow_state().items()}
    torch.save(state | {"fc.weight": state["out.weight"]}, tmp_path / "c3d.pth")
    assert "fc8.weight" not in read_checkpoint(tmp_path / "c3d.pth").tensors


def unknown_names() -> dict[str, torch.Tensor]:
    names = {layer: f"block{n}" for n, layer in enumerate(dict.fromkeys(key.split(".")[0] for key in narrow_state()))}
    return {f"net.{names[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in narrow_state().items()}


def test_the_shapes_suggest_a_map_that_works(tmp_path: Path) -> None:
    torch.save({"state_dict": unknown_names()}, tmp_path / "c3d.pth")
    shapes = {f"state_dict.{name}": tuple(value.shape) for name, value in unknown_names().items()}
    entries = suggest_key_map(shapes)
    assert entries[0] == "block0=conv1"
    tensors = read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(key_map=entries)).tensors
    assert all(torch.equal(tensors[name], value) for name, value in narrow_state().items())


@pytest.mark.parametrize("change", ["block3.weight", "block8.weight", "norm.running_mean"])
def test_other_shapes_suggest_nothing(change: str) -> None:
    shapes = {name: tuple(value.shape) for name, value in unknown_names().items()}
    assert suggest_key_map(shapes | {f"net.{change}": (3, 5)}) == ()


def test_a_network_takes_no_layer_of_another_network(tmp_path: Path) -> None:
    state = narrow_state()
    body = {name: value for name, value in state.items() if not name.startswith("fc8")}
    head = {"cls.weight": state["fc8.weight"], "cls.bias": state["fc8.bias"]}
    rgb, flow = (
        {f"{place}.{k}": v for k, v in found.items()} for place, found in (("rgb", body), ("flow", body | head))
    )
    torch.save({**rgb, **flow}, tmp_path / "c3d.pth")
    for prefix, classes in (("rgb.", 0), ("flow.", 5)):
        selection = WeightSelection(prefix=prefix, key_map=("cls=fc8",))
        assert read_checkpoint(tmp_path / "c3d.pth", selection=selection).num_classes == classes
    torch.save({**rgb, **{f"flow.{k}": v for k, v in body.items()}, **head}, tmp_path / "shared.pth")
    selection = WeightSelection(prefix="rgb.", key_map=("cls=fc8",))
    assert read_checkpoint(tmp_path / "shared.pth", selection=selection).num_classes == 5
