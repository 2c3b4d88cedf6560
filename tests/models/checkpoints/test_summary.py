"""What `inspect` says of a checkpoint, and that the command it prints is the one that exports it."""

import shlex
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.run import call
from helpers.selection import parse_options

from exporter.workflows.inspect import inspect
from models import build
from models.errors import UsageError
from models.options import BuildOptions, WeightSelection

ONE = torch.ones(1)


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A training checkpoint with an average, an optimizer and a criterion."""
    path = tmp_path / "my run.pth"
    state = {f"module.{name}": value for name, value in narrow_state().items()}
    content = {
        "state_dict": state | {"module.aux.weight": ONE, "criterion.weight": ONE},
        "ema": narrow_state(seed=1),
        "optimizer": {"state": {0: {"exp_avg": ONE}}},
    }
    torch.save(content, path)
    return path


def test_networks_are_listed_with_what_they_cover_and_what_is_left_out(several: Path) -> None:
    facts = inspect(several, options=BuildOptions(selection=WeightSelection(ignore=("module.aux.*",)))).facts
    assert facts["network 1"] == "under 'state_dict' with the prefix 'module.': 22 of 22 tensors, 5 classes"
    assert facts["network 2"] == (
        "under 'ema': 22 of 22 tensors, 5 classes, an average over the training; --key ema takes it"
    )
    assert (facts["key"], facts["prefix"]) == ("state_dict", "module.")
    assert facts["left out"] == (
        "1 tensor of the optimizer; 1 other tensor, criterion.weight; by --ignore: 1 tensor, module.aux.weight"
    )
    assert facts["loads"] == "yes: 22 of 22 tensors, 5 classes"
    assert "logits" in facts["exports"]


def printed_command(options: str, path: Path, capture: pytest.CaptureFixture[str]) -> list[str]:
    done = call("c3d-export", "inspect", path.name, *shlex.split(options), cwd=path.parent, capture=capture)
    assert (done.returncode, done.stderr) == (0, "")
    line = next(line for line in done.stdout.splitlines() if line.strip().startswith("command"))
    return shlex.split(line.strip().removeprefix("command"))


@pytest.mark.parametrize(
    ("options", "seed"),
    [
        ("--ignore 'module.aux.*'", 0),
        ("--ema", 1),
        ("--key ema", 1),
        ("--key-map 'module.fc8=fc8' --ignore '*' --pool5 right --input-size 16x112x112 --variant c3d", 0),
    ],
)
def test_the_command_loads_what_was_described(
    options: str, seed: int, several: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = printed_command(options, several, capfd)
    assert command[:5] == ["c3d-export", "--format", "onnx", "--weights", several.name]
    built = build(parse_options(shlex.join(command[5:]), several))
    assert torch.equal(built.network.state_dict()["fc8.weight"], narrow_state(seed=seed)["fc8.weight"])


def test_the_command_exports_and_verify_finds_the_same_tensors_again(
    several: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = printed_command("--key ema", several, capfd)
    command[command.index("onnx")] = "torchscript"  # the fastest to write
    exported = call(*command, "--no-verify", cwd=several.parent, capture=capfd)
    assert (exported.returncode, exported.stderr) == (0, "")
    verify = ("verify", "parity", "artifacts/c3d.pt", "--inputs", "random")
    verified = call(*verify, cwd=several.parent, capture=capfd)
    assert (verified.returncode, verified.stderr) == (0, "")
    refused = call(*verify, "--key", "ema", cwd=several.parent, capture=capfd)
    assert refused.returncode == 2


def test_what_cannot_be_chosen_is_said_with_the_options(tmp_path: Path) -> None:
    two = {f"{stream}.{name}": value for stream in ("rgb", "flow") for name, value in narrow_state().items()}
    torch.save(two, tmp_path / "c3d.pth")
    facts = inspect(tmp_path / "c3d.pth").facts
    assert facts["loads"].endswith("choose with --prefix rgb. or --prefix flow.")
    assert [facts[f"network {n}"].rpartition("; ")[2] for n in (1, 2)] == [
        "--prefix rgb. takes it",
        "--prefix flow. takes it",
    ]
    assert "command" not in facts
    with pytest.raises(UsageError, match="^unknown layout"):
        inspect(tmp_path / "c3d.pth", options=BuildOptions(layout="caffee"))


def test_pool5_is_the_variants_where_it_has_one_of_its_own(tmp_path: Path) -> None:
    state = narrow_state() | {"fc8.weight": torch.ones(5, 16)}
    torch.save({k: v for k, v in state.items() if not k.startswith(("fc6", "fc7"))}, tmp_path / "c3d.pth")
    assert inspect(tmp_path / "c3d.pth").facts["pool5"] == "a global average"


def test_batch_norm_is_one_of_the_commands_options(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save(narrow_state(), tmp_path / "c3d.pth")
    facts = inspect(tmp_path / "c3d.pth", options=BuildOptions(batch_norm=True)).facts
    assert facts["loads"].startswith("no: 32 of 54 tensors are missing: bn1.weight")
    convert = ("c3d-export", "convert", "c3d.pth", "-o", "c3d.safetensors", "--batch-norm")
    refused = call(*convert, cwd=tmp_path, capture=capfd)
    assert refused.returncode == 3
    assert call(*convert[:-1], cwd=tmp_path, capture=capfd).returncode == 0
