"""Each checkpoint that once hung, crashed or filled the tool is refused at once, whichever command meets it."""

import time
from pathlib import Path

import pytest
from helpers.hostile_files import HOSTILE_CHECKPOINTS
from helpers.run import call

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
