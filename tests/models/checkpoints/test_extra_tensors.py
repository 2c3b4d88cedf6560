"""Every tensor that is not the network's is left out with a reason, or refused."""

from pathlib import Path

import pytest
import torch
from helpers.checkpoints import narrow_state

from models import build
from models.checkpoints.checkpoint import read_checkpoint
from models.config import BATCH_NORMS, CONVOLUTIONS
from models.errors import CheckpointError, UsageError
from models.options import BuildOptions, WeightSelection

ONE = torch.ones(1)


def test_an_optimizer_is_counted_not_listed(tmp_path: Path) -> None:
    state = narrow_state()
    parameters = [torch.nn.Parameter(value) for value in state.values()]
    optimizer = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.save({"state_dict": state, "optimizer": optimizer.state_dict()}, tmp_path / "c3d.pth")
    extra = read_checkpoint(tmp_path / "c3d.pth").extra
    assert extra.optimizer == 3 * len(state)
    assert extra.notes() == (f"left out: {3 * len(state)} tensors of the optimizer",)


def test_a_kernel_beside_the_network_that_could_be_one_of_its_layers_is_named(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in narrow_state().items()}
    kernel = torch.zeros(16, 16, 3, 3, 3)
    torch.save(state | {"neck.conv6.weight": kernel, "neck.other.weight": kernel[:, :3]}, tmp_path / "c3d.pth")
    (note,) = (note for note in read_checkpoint(tmp_path / "c3d.pth").notes if "kernel" in note)
    assert note.startswith("neck.conv6.weight has the shape of C3D's kernels, left out")


def test_tensors_outside_the_prefix_are_reported_and_left_out(tmp_path: Path) -> None:
    state = {f"model.{name}": value for name, value in narrow_state().items()}
    torch.save(
        {"state_dict": state | {"criterion.weight": ONE, "projector.0.weight": ONE}, "rng": ONE}, tmp_path / "c3d.pth"
    )
    extra = read_checkpoint(tmp_path / "c3d.pth").extra
    assert extra.outside == ("criterion.weight", "projector.0.weight", "rng")
    assert extra.unexpected == ()
    assert extra.notes() == ("left out: 3 other tensors, criterion.weight, projector.0.weight, rng",)


@pytest.mark.parametrize(
    "name", ["n_averaged", "criterion.weight", "metric_acc", "val_acc.total", "queue", "queue_ptr"]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_bookkeeping_beside_the_layers_is_known(name: str, prefix: str, tmp_path: Path) -> None:
    torch.save({prefix + key: value for key, value in (narrow_state() | {name: ONE}).items()}, tmp_path / "c3d.pth")
    assert read_checkpoint(tmp_path / "c3d.pth").extra.outside == (prefix + name,)


def test_an_extra_under_the_prefix_is_refused_unless_it_is_ignored(tmp_path: Path) -> None:
    torch.save({"model": narrow_state() | {"temperature": ONE}}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="1 tensor does not belong to C3D"):
        build(BuildOptions(weights=tmp_path / "c3d.pth"))
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", selection=WeightSelection(ignore=("temp*",))))
    assert "left out by --ignore: 1 tensor, temperature" in built.notes


def test_a_pattern_never_leaves_out_the_network_s_own_tensors(tmp_path: Path) -> None:
    torch.save(narrow_state() | {"aux.weight": ONE}, tmp_path / "c3d.pth")
    checkpoint = read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(ignore=("*",)))
    assert checkpoint.tensors.keys() == narrow_state().keys()
    assert checkpoint.extra.ignored == ("aux.weight",)


def test_another_network_s_tensors_are_left_out(tmp_path: Path) -> None:
    torch.save({"net": narrow_state(), "ema": narrow_state(seed=1) | {"t": ONE}}, tmp_path / "c3d.pth")
    extra = read_checkpoint(tmp_path / "c3d.pth").extra
    assert (extra.unexpected, extra.outside) == ((), ())


@pytest.mark.parametrize("pattern", ["fc8.*", "typo.*"])
def test_a_pattern_that_leaves_nothing_out_is_refused(pattern: str, tmp_path: Path) -> None:
    torch.save({"model": narrow_state() | {"aux": ONE}}, tmp_path / "c3d.pth")
    with pytest.raises(UsageError, match="--ignore"):
        read_checkpoint(tmp_path / "c3d.pth", selection=WeightSelection(ignore=("aux", pattern)))


@pytest.mark.parametrize("name", ["conv0.weight", "fc9.matrix"])
def test_a_further_layer_that_is_not_built_is_not_passed_over(name: str, tmp_path: Path) -> None:
    torch.save({"model": narrow_state() | {name: torch.eye(3).to_sparse()}}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(tmp_path / "c3d.pth")
    selection = WeightSelection(ignore=(name,))
    assert read_checkpoint(tmp_path / "c3d.pth", selection=selection).tensors.keys() == narrow_state().keys()


def test_what_is_not_built_beside_the_network_is_no_obstacle(tmp_path: Path) -> None:
    torch.save({"model": narrow_state(), "queue": torch.eye(3).to_sparse()}, tmp_path / "c3d.pth")
    assert len(read_checkpoint(tmp_path / "c3d.pth").tensors) == len(narrow_state())


@pytest.mark.parametrize("key", ["", "state_dict"])
def test_batch_norm_in_a_list_of_its_own_is_not_left_out(key: str, tmp_path: Path) -> None:
    """`convs.0` … `convs.7` alone are a C3D without BatchNorm, which would return other features."""
    pairs = list(zip(CONVOLUTIONS, BATCH_NORMS.values(), strict=True))
    state: dict[str, torch.Tensor] = {}
    for n, (conv, _) in enumerate(pairs):
        weight = narrow_state()[f"{conv}.weight"]
        state |= {f"convs.{n}.weight": weight, f"convs.{n}.bias": weight.new_zeros(len(weight))}
        ones = torch.ones(len(weight))
        state |= {f"norms.{n}.{name}": ones for name in ("weight", "bias", "running_mean", "running_var")}
    torch.save({key: state, "rng": ONE} if key else state, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="norms.0, norms.1, norms.2 and 5 more"):
        read_checkpoint(tmp_path / "c3d.pth")
    key_map = tuple(f"norms.{n}={norm}" for n, (_, norm) in enumerate(pairs))
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", selection=WeightSelection(key_map=key_map)))
    assert built.settings["batch_norm"]
