"""Of several networks in a file, the usual one is loaded, and none is guessed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import constant_state

from models.checkpoints import read_checkpoint
from models.errors import CheckpointError


@pytest.mark.parametrize(
    ("wrap", "key", "prefix"),
    [
        (lambda s: {"net_state_dict": s}, "net_state_dict", ""),
        (lambda s: {"params": s}, "params", ""),
        (lambda s: {"module": s}, "module", ""),
        (lambda s: {"net": {"state_dict": s}}, "net.state_dict", ""),
        (lambda s: [s, {"lr": 0.1}], "0", ""),
        (lambda s: {"ema": s}, "ema", ""),
        (lambda s: {"state_dict": s, "state_dict_ema": dict(s)}, "state_dict", ""),
        (lambda s: {"model": s, "optimizer": {"velocity": dict(s)}}, "model", ""),
        (
            lambda s: {
                "n": {f"{k.split('.')[0]}": {p: s[f"{k.split('.')[0]}.{p}"] for p in ("weight", "bias")} for k in s}
            },
            "n",
            "",
        ),
    ],
)
def test_the_usual_network_is_found_wherever_it_is(wrap: Any, key: str, prefix: str, tmp_path: Path) -> None:
    torch.save(wrap(constant_state()), tmp_path / "c3d.pth")
    checkpoint = read_checkpoint(tmp_path / "c3d.pth")
    assert (checkpoint.chosen.key, checkpoint.chosen.prefix) == (key, prefix)
    assert checkpoint.tensors.keys() == constant_state().keys()


def test_none_of_two_equal_networks_is_guessed(tmp_path: Path) -> None:
    two = {f"{stream}.{name}": value for stream in ("rgb", "flow") for name, value in constant_state().items()}
    torch.save(two, tmp_path / "c3d.pth")
    with pytest.raises(CheckpointError, match="holds 2 networks.*'rgb.'.*'flow.'"):
        read_checkpoint(tmp_path / "c3d.pth")
