"""TorchScript archives as checkpoints: the weights by their names, pool5 from the text of its class, nothing run."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import torch
from helpers.built import checkpoint
from helpers.small_files import refuse
from helpers.torch_programs import save_script
from torch import nn

from models import C3D, build
from models.checkpoints.readers import read_file
from models.options import BuildOptions

CLIP = torch.zeros(1, 3, 16, 112, 112)


def network(**options: Any) -> C3D:
    return C3D(5, base_channels=2, feature_dim=4, **options).eval()


class Wrapped(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x)


@pytest.mark.parametrize("example", [None, CLIP], ids=["scripted", "traced"])
@pytest.mark.parametrize("convention", ["symmetric", "right"])
@pytest.mark.parametrize("wrap", [lambda m: m, Wrapped], ids=["plain", "wrapped"])
def test_weights_and_pool5(
    example: torch.Tensor | None, convention: Any, wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    saved = network(pool5=convention)
    built = build(BuildOptions(weights=save_script(wrap(saved), tmp_path / "c3d.pt", example)))
    assert checkpoint(built).container == "TorchScript"
    assert (built.settings["pool5"], built.setting_sources["pool5"]) == (convention, "file")
    state = built.network.state_dict()
    assert state.keys() == saved.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in saved.state_dict().items())


def test_batch_norm(tmp_path: Path) -> None:
    saved = network(batch_norm=True)
    for name, value in saved.named_buffers():
        if name.endswith("running_mean"):
            value.fill_(len(name))
    built = build(BuildOptions(weights=save_script(saved, tmp_path / "c3d.pt")))
    assert built.settings["batch_norm"]
    assert all(torch.equal(value, dict(saved.named_buffers())[name]) for name, value in built.network.named_buffers())


def rewrite(path: Path, member: str, change: Callable[[str], str]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info, content in members:
            is_code = member in info.filename and info.filename.endswith(".py")
            archive.writestr(info, change(content.decode()).encode() if is_code else content)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("[0, 1, 1]", "[0, 1, 2]"),
        lambda text: text.replace("[2, 2, 2], [2, 2, 2]", "[2, 2, 2], [1, 1, 1]"),
        lambda text: text.replace(
            "    return", "    _2 = _0(input, [2, 2, 2], [2, 2, 2], [0, 0, 0], [1, 1, 1], True, )\n    return"
        ),
        lambda text: text.replace("[1, 1, 1]", "[1, 1, 2]"),
        lambda text: "",
    ],
)
def test_another_pool_states_nothing(change: Callable[[str], str], tmp_path: Path) -> None:
    save_script(network(), tmp_path / "c3d.pt")
    rewrite(tmp_path / "c3d.pt", "pooling/", change)
    assert build(BuildOptions(weights=tmp_path / "c3d.pt")).setting_sources["pool5"] == "default"


def test_the_code_of_an_archive_is_not_run(tmp_path: Path) -> None:
    save_script(network(), tmp_path / "c3d.pt")
    rewrite(tmp_path / "c3d.pt", "/c3d.py", lambda text: "raise SystemExit\n" + text)
    assert build(BuildOptions(weights=tmp_path / "c3d.pt")).settings["pool5"] == "symmetric"


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_frozen_weights_have_no_names(tmp_path: Path) -> None:
    frozen = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(2, 2)).eval()))  # pyright: ignore
    torch.jit.save(frozen, str(tmp_path / "frozen.pt"))  # pyright: ignore
    refuse(tmp_path / "frozen.pt", "weights have no names .*give the checkpoint")


def test_a_class_as_large_as_a_bomb_is_refused(tmp_path: Path) -> None:
    save_script(network(), tmp_path / "c3d.pt")
    rewrite(tmp_path / "c3d.pt", "pooling/", lambda text: text + " " * (1 << 16))
    refuse(tmp_path / "c3d.pt", "is larger than 65536 bytes")


def test_a_linear_layer_alone_is_read_under_its_names(tmp_path: Path) -> None:
    save_script(nn.Linear(2, 2), tmp_path / "linear.pt")
    assert read_file(tmp_path / "linear.pt").shapes == {"weight": (2, 2), "bias": (2,)}


@pytest.mark.parametrize("text", ["a" * 60_000, "a(" * 30_000, "a(a, [1, 1, 1], " * 3_000, "a\n" * 30_000])
def test_the_text_of_a_class_takes_a_time_that_grows_with_its_length(text: str, tmp_path: Path) -> None:
    save_script(network(), tmp_path / "c3d.pt")
    rewrite(tmp_path / "c3d.pt", "pooling/", lambda old: old + text)
    begun = process_time()
    assert read_file(tmp_path / "c3d.pt").tensors
    assert process_time() - begun < 1  # minutes where each position was tried as the beginning of a call


def test_an_ordinary_script_names_nothing_that_runs(tmp_path: Path) -> None:
    assert read_file(save_script(network(), tmp_path / "c3d.pt")).hazards == ()
