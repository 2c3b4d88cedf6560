"""Tensors become parameters completely, or are refused with their names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import constant_state, narrow_state

from models import build
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
    refuse(tmp_path / "part.pth", "2 of 22 tensors are missing: conv3b.bias, fc7.weight")
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


def test_a_negative_variance_is_refused(tmp_path: Path) -> None:
    """Its square root would make every output NaN."""
    state = narrow_state()
    for name in [name for name in state if name.startswith("conv") and name.endswith("bias")]:
        norm = name.removesuffix(".bias").replace("conv", "bn")
        ones = torch.ones(len(state[name]))
        state |= {f"{norm}.{parameter}": ones for parameter in ("weight", "bias", "running_mean", "running_var")}
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
