"""Each known origin's file, written as that origin writes it, loads completely and under the right names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.built import checkpoint, profile
from helpers.checkpoints import constant_state, narrow_state
from helpers.origins import JFZHANG95
from safetensors.torch import save_file
from torch import Tensor

from models import build
from models.checkpoints.checkpoint import read_checkpoint
from models.errors import CheckpointError
from models.options import BuildOptions


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{JFZHANG95[name.split('.')[0]]}.{name.split('.')[1]}": value for name, value in state.items()}


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


WRAPPED: dict[str, tuple[str, Callable[[dict[str, Tensor]], Any], str, str]] = {
    "bare": ("c3d.pickle", lambda s: s, "", ""),
    "training run": (
        "C3D_epoch-99.pth.tar",
        lambda s: {"epoch": 99, "state_dict": s, "opt_dict": {"lr": 0.1}},
        "state_dict",
        "",
    ),
    "model": ("c3d.pt", lambda s: {"model": s, "args": [1, "a", None]}, "model", ""),
    "model_state_dict": ("c3d.pt", lambda s: {"model_state_dict": s}, "model_state_dict", ""),
    "both": (
        "c3d.pt",
        lambda s: {"model": {"x": torch.zeros(1)}, "step": torch.zeros(1), "state_dict": s},
        "state_dict",
        "",
    ),
    "data parallel": ("c3d.pth", lambda s: prefixed("module.", s), "", "module."),
    "nested prefix": (
        "c3d.pth",
        lambda s: {"state_dict": prefixed("model.module.net.", s)},
        "state_dict",
        "model.module.net.",
    ),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_wrappers_and_prefixes(case: str, tmp_path: Path) -> None:
    name, wrap, wrapper, prefix = WRAPPED[case]
    torch.save(wrap(constant_state()), tmp_path / name)
    checkpoint = read_checkpoint(tmp_path / name)
    assert (checkpoint.chosen.key, checkpoint.chosen.prefix, checkpoint.layout.name) == (wrapper, prefix, "identity")
    assert checkpoint.extra.unexpected == ()
    assert checkpoint.tensors.keys() == constant_state().keys()
    assert all(torch.equal(checkpoint.tensors[key], value) for key, value in constant_state().items())


def test_the_old_torch_format(tmp_path: Path) -> None:
    torch.save(constant_state(), tmp_path / "c3d.pickle", _use_new_zipfile_serialization=False)
    checkpoint = read_checkpoint(tmp_path / "c3d.pickle")
    assert checkpoint.raw.container == "torch legacy"
    assert all(torch.equal(checkpoint.tensors[key], value) for key, value in constant_state().items())


def test_safetensors(tmp_path: Path) -> None:
    save_file(narrow_state(), tmp_path / "c3d.safetensors")
    built = build(BuildOptions(weights=tmp_path / "c3d.safetensors"))
    assert checkpoint(built).container == "safetensors"
    assert all(torch.equal(built.network.state_dict()[key], value) for key, value in narrow_state().items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_jfzhang95_pretrained(prefix: str, tmp_path: Path) -> None:
    torch.save(prefixed(prefix, renamed(constant_state())), tmp_path / "c3d-pretrained.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d-pretrained.pth"))
    assert checkpoint(built).layout == "jfzhang95"
    assert (built.settings["pool5"], built.setting_sources["pool5"], profile(built)) == (
        "symmetric",
        "layout",
        "jfzhang95",
    )
    assert all(torch.equal(built.network.state_dict()[key], value) for key, value in constant_state().items())


def test_a_named_layout_must_fit(tmp_path: Path) -> None:
    torch.save(renamed(constant_state()), tmp_path / "c3d.pth")
    assert read_checkpoint(tmp_path / "c3d.pth", "jfzhang95").layout.name == "jfzhang95"
    with pytest.raises(CheckpointError, match="not those of the layout identity.*features.0.weight"):
        read_checkpoint(tmp_path / "c3d.pth", "identity")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_widths_are_converted_and_told(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in narrow_state().items()}
    torch.save(state, tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth"))
    assert checkpoint(built).converted == (str(dtype).removeprefix("torch."),)
    assert all(torch.equal(built.network.state_dict()[key], value.float()) for key, value in state.items())
