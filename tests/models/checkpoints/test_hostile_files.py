"""Each checkpoint that once hung, crashed or filled the tool is refused at once, whichever command meets it."""

import time
from pathlib import Path

import pytest
import torch
from helpers.hostile_files import HOSTILE_CHECKPOINTS
from helpers.run import call

from models import build
from models.options import BuildOptions

REFUSALS = {
    "hang.h5": "not a valid HDF5 file, or truncated: it needs more than",
    "aliased-tuples-as-key.pth": "a dict key is a large or deeply nested tuple",
    "nested-tuples-as-key.pth": "a dict key is a large or deeply nested tuple",
    "bomb-bz2.npz": "claims to unpack to far more than its own size",
    "sparse.pth": "to_dense",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_it_is_refused_in_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    HOSTILE_CHECKPOINTS[name](tmp_path / name)
    before = (tmp_path / name).read_bytes()
    start = time.process_time()
    done = call("c3d-export", "convert", name, "-o", "out.safetensors", cwd=tmp_path, capture=capfd)
    assert time.process_time() - start < 10  # 2 s on a machine that does nothing else
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"Error: {name}: ")
    assert done.stderr.count("\n") == 1
    assert REFUSALS[name] in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_a_forged_name_is_escaped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = "spoof.safetensors"
    HOSTILE_CHECKPOINTS[name](tmp_path / name)
    done = call("c3d-export", "inspect", name, cwd=tmp_path, capture=capfd)
    assert "\x1b" not in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("integrity")] == []


def test_weights_that_are_one_number_each_do_not_fill_the_memory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """6 kB that claim 83 GB, all of a network's shapes in order."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in build(BuildOptions(num_classes=5, base_channels=2, feature_dim=8)).network.state_dict().items():
        wider = [1024 if axis == 0 or name != "conv1.weight" else 1 for axis in range(min(2, tensor.dim()))]
        if name.startswith("fc"):
            wider = [1, 1024] if name == "fc6.weight" else []
        sizes = [size * factor for size, factor in zip(tensor.shape, [*wider, 1, 1, 1, 1, 1], strict=False)]
        state[name] = torch.zeros(1).expand(sizes)
    torch.save(state, tmp_path / "wide.pth")
    done = call("c3d-export", "convert", "wide.pth", "-o", "out.safetensors", cwd=tmp_path, capture=capfd)
    assert done.returncode == 3
    assert "its weights would take" in done.stderr
