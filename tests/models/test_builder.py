"""build(): seeded, in eval mode, and a record of where the weights came from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.built import c3d, checkpoint
from helpers.checkpoints import constant_state, narrow_state
from helpers.exported import NARROW

from models import C3D, build
from models.builder import BuiltModel, state_sha256
from models.errors import CheckpointError, UsageError
from models.options import BuildOptions


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def sports1m(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("weights") / "c3d.pth", constant_state(487))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return save(tmp_path / "small.pth", narrow_state())


def test_a_seed_decides_every_bit_and_leaves_the_global_generator_alone(narrow: BuiltModel) -> None:
    torch.manual_seed(42)
    before = torch.get_rng_state()
    again, other = build(replace(NARROW, seed=0)), build(replace(NARROW, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert state_sha256(again.network) == state_sha256(narrow.network)
    assert state_sha256(other.network) != state_sha256(narrow.network)


def test_eval_mode_without_gradients(built: BuiltModel) -> None:
    assert not any(module.training for module in built.network.modules())
    assert not any(parameter.requires_grad for parameter in built.network.parameters())


def test_a_checkpoint_fills_every_tensor(sports1m: Path) -> None:
    loaded = build(BuildOptions(weights=sports1m))
    assert loaded.settings["num_classes"] == 487
    for name, value in constant_state(487).items():
        assert torch.equal(loaded.network.state_dict()[name], value), name
    assert (checkpoint(loaded).loaded, checkpoint(loaded).total) == (22, 22)
    assert checkpoint(loaded).values == 79_991_015


def test_another_class_count_names_both_shapes(sports1m: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fc8.weight is \(487, 4096\), the network's is \(101, 4096\).*new-head"):
        build(BuildOptions(101, weights=sports1m))


def test_a_new_head_is_only_fc8_and_comes_from_the_seed(small: Path) -> None:
    loaded = build(BuildOptions(48, weights=small, new_head=True, seed=5))
    again = build(BuildOptions(48, weights=small, new_head=True, seed=5))
    assert checkpoint(loaded).reinitialized == ("fc8.weight", "fc8.bias")
    head = loaded.network.state_dict()["fc8.weight"]
    assert head.shape == (48, 4)
    assert head.std().item() > 0
    assert state_sha256(loaded.network) == state_sha256(again.network)
    assert torch.equal(loaded.network.state_dict()["fc7.bias"], narrow_state()["fc7.bias"])


def test_a_checkpoint_without_fc8_is_a_network_of_features(tmp_path: Path) -> None:
    state = {name: value for name, value in constant_state().items() if not name.startswith("fc8")}
    path = save(tmp_path / "features.pth", state)
    features = build(BuildOptions(weights=path))
    assert features.settings["num_classes"] == 0
    assert (checkpoint(features).loaded, checkpoint(features).total) == (20, 20)
    assert c3d(features).forward_layers(torch.zeros(1, 3, 16, 112, 112))[4].shape == (1, 4096)
    with pytest.raises(CheckpointError, match=r"no fc8.weight and no fc8.bias.*\(101, 4096\).*--new-head"):
        build(BuildOptions(101, weights=path))
    assert build(BuildOptions(weights=path, new_head=True)).settings["num_classes"] == 101


def test_batch_norm_checkpoints_tell_the_variant_themselves(tmp_path: Path, small: Path) -> None:
    state = build(replace(NARROW, batch_norm=True, input_size=None)).network.state_dict()
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    path = save(tmp_path / "bn.pth", state)
    loaded = build(BuildOptions(weights=path))
    assert loaded.settings["batch_norm"]
    assert all(torch.equal(loaded.network.state_dict()[name], value) for name, value in state.items())
    with pytest.raises(CheckpointError, match="tensors are missing: bn1.weight.*without BatchNorm"):
        build(BuildOptions(weights=small, batch_norm=True))


def test_pool5_comes_from_the_option_then_the_layout_then_the_default(small: Path) -> None:
    built = build(BuildOptions(weights=small))
    assert (built.settings["pool5"], built.setting_sources["pool5"]) == ("symmetric", "default")
    chosen = build(BuildOptions(weights=small, pool5="right"))
    assert (chosen.settings["pool5"], chosen.setting_sources["pool5"]) == ("right", "option")
    assert c3d(chosen).pool5.ceil_mode


def test_pretrained_takes_a_path(sports1m: Path) -> None:
    with torch.device("meta"):
        network = C3D(487, pretrained=sports1m)
    assert torch.equal(network.state_dict()["fc6.bias"], constant_state()["fc6.bias"])


def test_an_unknown_layout_is_wrong_usage(sports1m: Path) -> None:
    with pytest.raises(UsageError, match="unknown layout 'caffee'; known are auto, identity, caffe-names, "):
        build(BuildOptions(weights=sports1m, layout="caffee"))
    with pytest.raises(UsageError, match=r"; did you mean caffe-names\?$"):
        build(BuildOptions(weights=sports1m, layout="cafe_names"))
