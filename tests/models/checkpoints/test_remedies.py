"""Every option that a refusal prints makes the file load."""

import re
from pathlib import Path

import pytest
import torch
from helpers.built import checkpoint
from helpers.checkpoints import narrow_state
from helpers.selection import parse_options
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from models import build
from models.errors import CheckpointError
from models.options import BuildOptions

ONE = torch.ones(1)
S = narrow_state()


def renamed(old: str, new: str, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name.replace(old, new): value for name, value in S.items()}


def in_blocks(*, norms: bool = False) -> dict[str, Tensor]:
    """A network of `layer1.0`, `layer2.0`, `layer3.0`, `layer3.2` and so on; with BatchNorm `layer1.1` after it."""
    state: dict[str, Tensor] = {}
    for layer in dict.fromkeys(name.split(".")[0] for name in S):
        block, second = layer[4:5], int(layer.endswith("b")) * (3 if norms else 2)
        theirs = f"layer{block}.{second}" if layer.startswith("conv") else layer
        state |= {f"{theirs}.{p}": S[f"{layer}.{p}"] for p in ("weight", "bias")}
        if norms and layer.startswith("conv"):
            ones = torch.ones(len(S[f"{layer}.bias"]))
            parts = ("weight", "bias", "running_mean", "running_var")
            state |= {f"layer{block}.{second + 1}.{p}": ones for p in parts}
    return state


REFUSED: dict[str, object] = {
    "a scalar": S | {"temperature": torch.tensor(1.0)},
    "a layer": S | {"aux.weight": ONE, "aux.bias": ONE},
    "a layer under a key and a prefix": {"model": {f"module.{k}": v for k, v in (S | {"aux.weight": ONE}).items()}},
    "a module of many layers": S | {f"decoder.{n}.weight": ONE for n in range(9)},
    "many layers": S | {f"layer{n}.weight": ONE for n in range(9)},
    "many tensors": S | {f"t{n}": ONE for n in range(9)},
    "a tensor with a space": S | {"my tensor": ONE},
    "a tensor beside a layer's own": S | {"conv1.weight_ema": ONE},
    "another head": renamed("fc8", "regressor"),
    "another head under a key and a prefix": {"net": renamed("fc8", "regressor", "module.")},
    "two streams": {**renamed("", "", "rgb."), **renamed("", "", "flow.")},
    "a list": [S, narrow_state(seed=1)],
    "unknown names": renamed("conv", "block"),
    "names of a residual network": in_blocks(),
    "blocks with BatchNorm": in_blocks(norms=True),
    "linear layers from 1": {re.sub(r"fc(\d)", lambda found: f"fc{int(found[1]) - 5}", k): v for k, v in S.items()},
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_option_printed_makes_the_file_load(case: str, tmp_path: Path) -> None:
    path = tmp_path / "c3d.pth"
    torch.save(REFUSED[case], path)
    with pytest.raises(CheckpointError) as caught:
        build(BuildOptions(weights=path))
    message = str(caught.value)
    assert message.count(str(path)) == 1
    option = r"--(?:key|prefix|ignore|key-map) (?:'[^']*'|\S+)"
    remedies = re.findall(rf"{option}(?: {option})*", message.rstrip(";,."))
    assert remedies
    for remedy in remedies:
        text = remedy.rstrip(",;")
        built = build(parse_options(text, path))
        assert checkpoint(built).loaded == checkpoint(built).total, text


@pytest.mark.parametrize("extra", [{"conv1_2.weight": torch.ones(2, 2, 3, 3, 3)}, {"norm1.running_mean": ONE}])
def test_to_leave_out_layers_that_compute_is_not_advised(extra: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"model": S | extra}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="make it another network, unless") as caught:
        build(BuildOptions(weights=tmp_path / "c3d.pth"))
    assert "--ignore '" not in str(caught.value)


def test_a_head_is_offered_both_ways(tmp_path: Path) -> None:
    torch.save(renamed("fc8", "regressor"), tmp_path / "c3d.pth")
    with pytest.raises(
        CheckpointError, match=r"2 tensors do not belong to C3D.*; --ignore 'regressor.\*' leaves them out, "
    ):
        build(BuildOptions(weights=tmp_path / "c3d.pth"))
    features = build(parse_options("--ignore 'regressor.*'", tmp_path / "c3d.pth"))
    scores = build(parse_options("--key-map fc8=regressor", tmp_path / "c3d.pth"))
    assert (features.settings["num_classes"], scores.settings["num_classes"]) == (0, 5)


@pytest.mark.parametrize("layer", ["conv3a", "fc8"])
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "prune", "parametrization"])
@pytest.mark.filterwarnings("ignore")  # the old weight_norm is deprecated, and in files
def test_a_weight_in_parts_loads_after_they_are_joined(layer: str, kind: str, tmp_path: Path) -> None:
    weight = S[f"{layer}.weight"]
    outputs, inputs = weight.shape[:2]
    made: nn.Module = nn.Conv3d(inputs, outputs, 3) if weight.dim() == 5 else nn.Linear(inputs, outputs)
    split, join = {
        "weight_norm": (nn.utils.weight_norm, nn.utils.remove_weight_norm),
        "spectral_norm": (nn.utils.spectral_norm, nn.utils.remove_spectral_norm),
        "prune": (lambda m: prune.l1_unstructured(m, "weight", 0.5), lambda m: prune.remove(m, "weight")),
        "parametrization": (
            nn.utils.parametrizations.weight_norm,
            lambda m: parametrize.remove_parametrizations(m, "weight"),
        ),
    }[kind]
    others = {name: value for name, value in S.items() if not name.startswith(f"{layer}.")}
    split(made)
    torch.save(others | {f"{layer}.{name}": value for name, value in made.state_dict().items()}, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="remove_parametrizations on the layer, and save it again"):
        build(BuildOptions(weights=tmp_path / "c3d.pth"))
    every = {f"{name}_g" if name.endswith("weight") else name: value for name, value in S.items()}
    torch.save(every, tmp_path / "every.pth")
    with pytest.raises(CheckpointError, match="remove_parametrizations on the layer, and save it again"):
        build(BuildOptions(weights=tmp_path / "every.pth"))
    join(made)
    torch.save(others | {f"{layer}.{name}": value for name, value in made.state_dict().items()}, tmp_path / "c3d.pth")
    build(BuildOptions(weights=tmp_path / "c3d.pth"))
