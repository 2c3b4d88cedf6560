"""Files of other geometries and of C3D's relatives, as their origins' code names them, load as the origin's network."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.built import c3d
from helpers.checkpoints import narrow_state
from helpers.variants import make_origin, named_state
from torch import Tensor, nn

from models import build
from models.config import C3DConfig
from models.errors import CheckpointError, UsageError
from models.options import BuildOptions

CONVOLUTIONS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
LINEARS = ("fc6", "fc7", "fc8")
NORMS = tuple(name.replace("conv", "bn") for name in CONVOLUTIONS)
GROUPS = ("group1.", "group2.", "group3.", "group3.", "group4.", "group4.", "group5.", "group5.")
EFFICIENT = {
    "conv": tuple(f"module.{group}{n}" for group, n in zip(GROUPS, (0, 0, 0, 3, 0, 3, 0, 3), strict=True)),
    "norm": tuple(f"module.{group}{n}" for group, n in zip(GROUPS, (1, 1, 1, 4, 1, 4, 1, 4), strict=True)),
    "linear": ("module.fc1.0", "module.fc2.0", "module.fc.0"),
}
FILES: dict[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "VCOP with linear": ("global-pool", {"conv": CONVOLUTIONS, "norm": NORMS, "linear": ("linear",)}),
    "VCOP without BatchNorm": (
        "global-pool without BatchNorm, 8 frames",
        {"conv": CONVOLUTIONS, "linear": ("linear",)},
    ),
    "Efficient-3DCNNs": (
        "efficient-3dcnns",
        EFFICIENT | {"norm": (*EFFICIENT["norm"], "module.fc1.1", "module.fc2.1")},
    ),
    "Efficient-3DCNNs without BatchNorm1d": ("efficient-3dcnns, 32 frames, no BatchNorm1d", EFFICIENT),
    "one channel": ("one channel, another width of fc7", {"conv": CONVOLUTIONS, "linear": LINEARS}),
    "two channels, 8 frames": (
        "two channels, 8 frames, pool5 right, even and odd maps",
        {"conv": CONVOLUTIONS, "linear": LINEARS},
    ),
    "VMZ's pool5": ("pool5 without padding, as VMZ's", {"conv": CONVOLUTIONS, "linear": LINEARS}),
    "no fc7": ("fc8 reads fc6", {"conv": CONVOLUTIONS, "linear": ("fc6", "fc8")}),
    "no fc7, a head of another name": ("fc8 reads fc6", {"conv": CONVOLUTIONS, "linear": ("fc6", "classifier")}),
    "no fc6 and no fc7": ("fc8 reads pool5, two steps", {"conv": CONVOLUTIONS, "linear": ("fc8",)}),
    "no fc6 and no fc7, a head of another name": (
        "fc8 reads pool5, two steps",
        {"conv": CONVOLUTIONS, "linear": ("fc",)},
    ),
}


def compute_logits(network: nn.Module, config: C3DConfig) -> Tensor:
    clip = torch.randn(1, *config.clip_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    network = network.double()
    with torch.inference_mode():
        return network(clip)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_its_origins_network(name: str, tmp_path: Path) -> None:
    origin, config = make_origin(FILES[name][0])
    torch.save({"state_dict": named_state(origin, FILES[name][1])}, tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", input_size=config.clip_shape[1:]))
    assert built.settings == config.settings()
    expected = compute_logits(origin, config)
    torch.testing.assert_close(compute_logits(built.network, config), expected, rtol=1e-9, atol=0)


def test_vcop_without_a_head_returns_the_average_of_conv5b(tmp_path: Path) -> None:
    origin, config = make_origin("global-pool")
    pooled = nn.Sequential(*list(origin)[:-1])  # and flattened
    torch.save(named_state(pooled, {"conv": CONVOLUTIONS, "norm": NORMS}), tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", input_size=config.clip_shape))
    assert [output.name for output in built.select()] == ["pool5"]
    torch.testing.assert_close(compute_logits(built.network, config), compute_logits(pooled, config), rtol=1e-9, atol=0)


@pytest.mark.parametrize("network", ["32 frames, two steps after pool5", "fc8 reads pool5, two steps"])
def test_channels_last_files_read_time_then_rows_then_channels(network: str, tmp_path: Path) -> None:
    origin, config = make_origin(network)
    linears = LINEARS if config.feature_dim else ("fc8",)
    state = named_state(origin, {"conv": CONVOLUTIONS, "linear": linears})
    arrays: dict[str, np.ndarray] = {}
    for name, value in state.items():
        layer, kind = name.split(".")
        array = value.numpy()
        if kind == "weight" and layer in CONVOLUTIONS:
            array = array.transpose(2, 3, 4, 1, 0)
        elif kind == "weight":
            if layer == linears[0]:
                array = array.reshape(len(array), *config.pool5_shape).transpose(0, 2, 3, 4, 1).reshape(len(array), -1)
            array = array.T
        arrays[f"{layer}/{'kernel' if kind == 'weight' else 'bias'}"] = array
    np.savez(tmp_path / "c3d.npz", allow_pickle=False, **arrays)
    options = BuildOptions(weights=tmp_path / "c3d.npz", layout="adamcasson", input_size=(32, 64, 64))
    torch.testing.assert_close(
        compute_logits(build(options).network, config), compute_logits(origin, config), rtol=1e-9, atol=0
    )


def test_a_file_whose_size_is_open_is_refused_with_the_option_that_loads_it(tmp_path: Path) -> None:
    origin, config = make_origin("one channel, another width of fc7")
    path = tmp_path / "c3d.pth"
    torch.save(named_state(origin, {"conv": CONVOLUTIONS, "linear": LINEARS}), path)
    with pytest.raises(CheckpointError, match=r"c3d.pth: fc6 reads 128 values.*These fit: 1x16x32x32 \(16-31 x 32-63"):
        build(BuildOptions(weights=path))
    symmetric = build(BuildOptions(weights=path, input_size=(1, 16, 32, 32)))
    assert c3d(symmetric).config.pool5 == "symmetric"
    assert symmetric.setting_sources == {"pool5": "shapes"}
    assert symmetric.preprocessing is None
    assert any("1 channel" in note for note in symmetric.notes)
    assert c3d(build(BuildOptions(weights=path, input_size=config.clip_shape))).config == config


def test_outputs_that_a_shorter_network_lacks_say_what_it_returns(tmp_path: Path) -> None:
    origin, config = make_origin("one channel, another width of fc7")
    state = named_state(origin, {"conv": CONVOLUTIONS, "linear": LINEARS})
    torch.save({name: value for name, value in state.items() if name[:3] not in ("fc7", "fc8")}, tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth", input_size=config.clip_shape))
    assert [output.name for output in built.select(("conv5b", "pool5", "fc6"))] == ["conv5b", "pool5", "fc6"]
    with pytest.raises(UsageError, match=r"no output fc7: the checkpoint has no fc7; --outputs fc6,pool5"):
        built.select(("fc7",))
    with pytest.raises(
        UsageError, match=r"no output logits: the checkpoint has no fc8; --outputs fc6,pool5.*--new-head"
    ):
        built.select(("logits",))


def test_another_variant_than_the_files_is_reported(tmp_path: Path) -> None:
    origin, config = make_origin("efficient-3dcnns, 32 frames, no BatchNorm1d")
    torch.save(named_state(origin, EFFICIENT), tmp_path / "c3d.pth")
    options = BuildOptions(weights=tmp_path / "c3d.pth", input_size=config.clip_shape)
    own, other = build(options), build(replace(options, variant="c3d"))
    assert not any("overrides" in note for note in own.notes)
    assert any("--variant c3d overrides the checkpoint's, efficient-3dcnns" in note for note in other.notes)


def test_a_new_head_needs_the_layers_before_it(tmp_path: Path) -> None:
    origin, config = make_origin("fc8 reads fc6")
    state = named_state(origin, {"conv": CONVOLUTIONS, "linear": ("fc6", "fc8")})
    path = tmp_path / "c3d.pth"
    options = BuildOptions(7, weights=path, new_head=True, input_size=config.clip_shape)
    torch.save({name: value for name, value in state.items() if not name.startswith("fc8")}, path)
    built = build(options)
    assert c3d(built).config == replace(config, num_classes=7)
    assert "the checkpoint has no fc7: the new fc8 reads fc6" in built.notes
    torch.save({name: value for name, value in state.items() if not name.startswith("fc")}, path)
    with pytest.raises(CheckpointError, match="ends at conv5b: fc6 and fc7 are missing"):
        build(options)
    features = build(replace(options, num_classes=None, new_head=False))
    assert not any("--new-head" in text for text in (*features.notes, *features.unavailable_outputs.values()))
    assert [output.name for output in features.select(("pool5",))] == ["pool5"]


@pytest.mark.parametrize("last", ["fc8", "fc", "aux"])
@pytest.mark.parametrize("empty", ["conv1.weight", "conv5b.weight", "fc6.weight"])
def test_a_tensor_without_numbers_is_refused(empty: str, last: str, tmp_path: Path) -> None:
    state = {name.replace("fc8", last): value for name, value in narrow_state().items()}
    if empty == "conv5b.weight":
        state = {name: value for name, value in state.items() if not name.startswith(("fc6", "fc7"))}
    state[empty] = torch.zeros(0, *state[empty].shape[1:]) if empty in state else torch.zeros(0, 4)
    torch.save(state, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="c3d.pth: "):
        build(BuildOptions(weights=tmp_path / "c3d.pth"))
