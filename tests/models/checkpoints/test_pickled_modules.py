"""A pickled network states its pool5; a network that pools otherwise states nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models import C3D, build
from models.checkpoints.pickled_modules import find_pool5
from models.options import BuildOptions


@pytest.mark.parametrize("convention", ["symmetric", "right"])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"epoch": 3, "model": m}, nn.DataParallel, lambda m: [m]])
def test_the_convention_of_a_pickled_network_is_read(convention: Any, wrap: Any, tmp_path: Path) -> None:
    network = C3D(5, pool5=convention, base_channels=2, feature_dim=4)
    torch.save(wrap(network), tmp_path / "c3d.pt")
    built = build(BuildOptions(weights=tmp_path / "c3d.pt"))
    assert (built.settings["pool5"], built.setting_sources["pool5"]) == (convention, "file")


def compile_each(network: nn.Module) -> nn.Module:
    for name, module in list(network.named_children()):
        setattr(network, name, torch.compile(module))
    return network


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own modules
@pytest.mark.parametrize("compiled", [torch.compile, compile_each, lambda m: torch.compile(nn.DataParallel(m))])
def test_a_compiled_network(compiled: Any, tmp_path: Path) -> None:
    """torch.compile puts modules around modules, whose names are in those of the weights."""
    network = C3D(5, pool5="right", base_channels=2, feature_dim=4)
    values = {name: value.clone() for name, value in network.state_dict().items()}
    done = compiled(network)
    torch.save(done, tmp_path / "c3d.pt")
    torch.save(done.state_dict(), tmp_path / "c3d.pth")
    whole, state = (build(BuildOptions(weights=tmp_path / name)) for name in ("c3d.pt", "c3d.pth"))
    assert (whole.settings["pool5"], whole.setting_sources["pool5"]) == ("right", "file")
    for built in (whole, state):
        assert all(torch.equal(built.network.state_dict()[name], value) for name, value in values.items())


@pytest.mark.parametrize(
    "pool", [nn.MaxPool3d(2), nn.MaxPool3d(2, padding=1), nn.MaxPool3d(2, 1, (0, 1, 1)), nn.AvgPool3d(2, 2, (0, 1, 1))]
)
def test_other_pools_state_nothing(pool: nn.Module, tmp_path: Path) -> None:
    network = C3D(5, base_channels=2, feature_dim=4)
    network.pool5 = pool
    torch.save(network, tmp_path / "c3d.pt")
    assert build(BuildOptions(weights=tmp_path / "c3d.pt")).setting_sources["pool5"] == "default"


@pytest.mark.parametrize("content", [None, {}, {"pool5": 3}, [1], {"model": {"pool5": torch.ones(1)}}])
def test_contents_without_modules_state_nothing(content: object) -> None:
    assert find_pool5(content, "model.") is None
    assert find_pool5(content, "") is None


@pytest.mark.parametrize("name", ["\u00b2", "\u0663", "9" * 5000, "-1"])
def test_a_part_of_a_prefix_that_is_no_index_finds_nothing(name: str) -> None:
    """Python counts a superscript two among the digits, and refuses to convert 5,000 of them."""
    assert find_pool5([[1], [2], [3], [4]], f"{name}.") is None
