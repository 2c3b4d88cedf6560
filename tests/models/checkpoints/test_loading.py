"""Tensors become parameters completely, or are refused with their names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import constant_state, narrow_state

from models import build
from models.c3d import C3D
from models.checkpoints.loading import load_into
from models.errors import CheckpointError
from models.options import BuildOptions


def refuse(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        build(BuildOptions(weights=path, **options))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_missing_and_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    state = constant_state()
    del state["conv3b.bias"], state["fc7.weight"]
    torch.save(state, tmp_path / "part.pth")
    refuse(tmp_path / "part.pth", "2 of 22 tensors are missing: conv3b.bias, fc7.weight; unless .*--key-map")
    torch.save({**constant_state(), "lstm.weight": torch.zeros(1)}, tmp_path / "more.pth")
    refuse(
        tmp_path / "more.pth",
        r"1 tensor does not belong to C3D \(identity layout\): lstm.weight; --ignore lstm.weight leaves it out",
    )


def test_wrong_shapes_are_all_listed(tmp_path: Path) -> None:
    state = constant_state()
    state["fc6.weight"] = torch.zeros(()).expand(4096, 8191)
    state["conv1.weight"] = torch.zeros(64, 3, 7, 7, 7)
    torch.save(state, tmp_path / "wrong.pth")
    refuse(
        tmp_path / "wrong.pth",
        r"2 tensors have another shape: (?=.*fc6.weight is \(4096, 8191\), the network's is \(4096, 8192\))(?=.*conv1)",
    )


def on_meta(classes: int = 5, *, batch_norm: bool = False) -> C3D:
    """A network of the widths of `narrow_state`, without memory."""
    with torch.device("meta"):
        return C3D(classes, batch_norm=batch_norm, base_channels=2, feature_dim=4)


def test_the_network_takes_the_file_s_tensors(tmp_path: Path) -> None:
    state = narrow_state()
    torch.save(state, tmp_path / "c3d.pth")
    info = load_into(network := on_meta(), tmp_path / "c3d.pth")
    found = network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert (info.loaded, info.total, info.values) == (22, 22, sum(value.numel() for value in state.values()))


def test_a_new_head_is_left_to_the_caller(tmp_path: Path) -> None:
    torch.save(narrow_state(), tmp_path / "c3d.pth")
    info = load_into(network := on_meta(7), tmp_path / "c3d.pth", new_head=True)
    assert {name for name, value in network.state_dict().items() if value.is_meta} == {"fc8.weight", "fc8.bias"}
    assert (info.reinitialized, info.loaded) == (("fc8.weight", "fc8.bias"), 20)
    with pytest.raises(CheckpointError, match="another class count; .*--new-head"):
        load_into(on_meta(7), tmp_path / "c3d.pth")


def test_batch_norm_on_one_side_only_is_named(tmp_path: Path) -> None:
    state = narrow_state()
    torch.save(state, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="tensors are missing: .*; is it a checkpoint without BatchNorm"):
        load_into(on_meta(batch_norm=True), tmp_path / "plain.pth")
    torch.save(with_batch_norm(state), tmp_path / "normed.pth")
    with pytest.raises(CheckpointError, match=r"holds BatchNorm layers \(bn1.*\) that this network does not have"):
        load_into(on_meta(), tmp_path / "normed.pth")


def test_integers_are_refused(tmp_path: Path) -> None:
    state = constant_state() | {"conv2.bias": torch.zeros(128, dtype=torch.int64)}
    torch.save(state, tmp_path / "int.pth")
    refuse(tmp_path / "int.pth", "conv2.bias is int64; weights must be floats")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_value_that_is_not_finite_is_named_with_its_place(value: str, tmp_path: Path) -> None:
    state = constant_state()
    state["conv4a.weight"] = state["conv4a.weight"].clone()
    state["conv4a.weight"][3, 1, 0, 2, 1] = float(value)
    torch.save(state, tmp_path / "nan.pth")
    refuse(tmp_path / "nan.pth", rf"conv4a.weight holds {value} at \(3, 1, 0, 2, 1\)")


def with_batch_norm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state = dict(state)
    for name in [name for name in state if name.startswith("conv") and name.endswith("bias")]:
        norm = name.removesuffix(".bias").replace("conv", "bn")
        ones = torch.ones(len(state[name]))
        state |= {f"{norm}.{parameter}": ones for parameter in ("weight", "bias", "running_mean", "running_var")}
    return state


def test_a_negative_variance_is_refused(tmp_path: Path) -> None:
    """Its square root would make every output NaN."""
    state = with_batch_norm(narrow_state())
    torch.save(state | {"bn2.running_var": -state["bn2.running_var"]}, tmp_path / "c3d.pth")
    refuse(tmp_path / "c3d.pth", "bn2.running_var holds -1; a variance is not negative")


def test_a_float64_beyond_float32_is_not_finite(tmp_path: Path) -> None:
    state = constant_state() | {"fc7.bias": torch.full((4096,), 1e300, dtype=torch.float64)}
    torch.save(state, tmp_path / "wide.pth")
    refuse(tmp_path / "wide.pth", r"fc7.bias holds inf at \(0,\)")


@pytest.mark.parametrize("classes", [100_001, 2 * 10**11])
def test_a_class_count_beyond_belief_is_refused_before_memory_is_given_to_it(classes: int, tmp_path: Path) -> None:
    state = constant_state() | {"fc8.weight": torch.zeros(()).expand(classes, 4096)}
    torch.save(state, tmp_path / "huge.pth")
    refuse(tmp_path / "huge.pth", rf"fc8.weight is \({classes}, 4096\): not a plausible class count")


def test_a_shape_without_values_is_refused(tmp_path: Path) -> None:
    torch.save(constant_state() | {"fc7.bias": torch.zeros(4096, device="meta")}, tmp_path / "meta.pth")
    refuse(tmp_path / "meta.pth", "fc7.bias has a shape but no values")
