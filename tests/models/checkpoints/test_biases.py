"""A file without biases is a network without biases; a file without some of them is damaged."""

from pathlib import Path

import pytest
import torch
from helpers.built import c3d
from helpers.checkpoints import SHAPES, narrow_state
from helpers.selection import parse_options
from torch import Tensor

from models import C3D, build
from models.errors import CheckpointError
from models.options import BuildOptions

CLIP = (3, 16, 112, 112)
CONVOLUTIONS, LINEARS = tuple(SHAPES)[:8], tuple(SHAPES)[8:]


def without(state: dict[str, Tensor], *layers: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name not in {f"{layer}.bias" for layer in layers}}


@pytest.mark.parametrize(
    ("layers", "kinds"),
    [
        (CONVOLUTIONS, ("convolutions have",)),
        (LINEARS[:2], ("hidden linear layers have",)),
        (LINEARS[2:], ("classifier has",)),
        (tuple(SHAPES), ("convolutions have", "hidden linear layers have", "classifier has")),
    ],
    ids=["convolutions", "fc6 and fc7", "fc8", "all"],
)
def test_a_kind_of_layer_without_biases_has_none(
    layers: tuple[str, ...], kinds: tuple[str, ...], tmp_path: Path
) -> None:
    state = narrow_state()
    torch.save(without(state, *layers), tmp_path / "c3d.pth")
    built = build(BuildOptions(weights=tmp_path / "c3d.pth"))
    notes = [note for note in built.notes if "no bias" in note]
    assert [any(kind in note for note in notes) for kind in kinds] == [True] * len(kinds) == [True] * len(notes)
    network = C3D(5, base_channels=2, feature_dim=4).eval()
    network.load_state_dict(state | {f"{name}.bias": torch.zeros(len(state[f"{name}.bias"])) for name in layers})
    clip = torch.randn(1, *CLIP, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(c3d(built)(clip), network(clip))


@pytest.mark.parametrize("layer", ["conv3a", "fc6"])
def test_a_bias_that_only_one_of_its_kind_lacks_is_missing(layer: str, tmp_path: Path) -> None:
    torch.save(without(narrow_state(), layer), tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match=f"1 of 22 tensors is missing: {layer}.bias"):
        build(BuildOptions(weights=tmp_path / "c3d.pth"))


def test_biases_beside_the_network_are_not_passed_over(tmp_path: Path) -> None:
    state, path = narrow_state(), tmp_path / "c3d.pth"
    weights = without(state, *CONVOLUTIONS)
    torch.save({"net": weights, "shifts": [state[f"{layer}.bias"] for layer in CONVOLUTIONS]}, path)
    with pytest.raises(CheckpointError, match=r"tensors of their lengths are beside it: shifts.0") as caught:
        build(BuildOptions(weights=path))
    assert "--key-map shifts.0=LAYER.bias" in str(caught.value)
    maps = " ".join(f"--key-map shifts.{n}={layer}.bias" for n, layer in enumerate(CONVOLUTIONS))
    assert torch.equal(c3d(build(parse_options(maps, path))).get_parameter("conv3a.bias"), state["conv3a.bias"])
    ignored = build(parse_options("--ignore 'shifts.*'", path))
    assert not c3d(ignored).get_parameter("conv3a.bias").any()
