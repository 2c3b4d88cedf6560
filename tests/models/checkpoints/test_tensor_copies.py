"""Copies of a mapped file are equal to it, and the file's pages are given back."""

import hashlib
import mmap
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.loaded import load_tensors

from models.checkpoints.readers import read_file
from models.checkpoints.readers.base import HASH_BUFFER, Hashing, open_mapped
from models.checkpoints.tensors import CHUNK, copy_bytes


def resident(path: Path) -> int:
    """Bytes of a file's mappings that are in this process's memory."""
    blocks = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    return sum(1024 * int(re.findall(r"Rss: +(\d+) kB", block)[0]) for block in blocks if str(path) in block)


@pytest.mark.parametrize("start", [0, 1, mmap.PAGESIZE - 1, mmap.PAGESIZE, 3 * mmap.PAGESIZE + 8])
@pytest.mark.parametrize("length", [0, 1, mmap.PAGESIZE, CHUNK - 3, 2 * CHUNK + 12345])
def test_a_copy_is_equal_and_what_is_around_it_stays(start: int, length: int, tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, start + length + 100, np.uint8)
    (tmp_path / "f").write_bytes(content.tobytes())
    with open_mapped(tmp_path / "f") as file:
        around = np.frombuffer(file.data, np.uint8)
        written = np.concatenate([np.arange(start), np.arange(start + length, len(content))])
        around[written] = 7  # written to the private mapping only
        copy = copy_bytes(memoryview(file.data)[start : start + length])
        assert np.array_equal(copy.numpy(), content[start : start + length])
        assert (around[written] == 7).all()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads Linux's account of a process's memory")
def test_the_copied_pages_are_given_back(tmp_path: Path) -> None:
    path, size = tmp_path / "weights", 4 * CHUNK
    path.write_bytes(bytes(size))
    with open_mapped(path) as file:
        whole = memoryview(file.data)[3 : size - 3]
        assert torch.count_nonzero(copy_bytes(whole)) == 0
        assert resident(path) <= 4 * mmap.PAGESIZE
        assert not np.frombuffer(whole, np.uint8).any()
        assert resident(path) > size // 2  # the account shows what is read


@pytest.mark.parametrize("size", [1, HASH_BUFFER, 2 * HASH_BUFFER + 5])
def test_a_file_is_hashed_whole(size: int, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(size)
    (tmp_path / "f").write_bytes(content)
    with open_mapped(tmp_path / "f") as file:
        assert Hashing(file).finish() == hashlib.sha256(content).hexdigest()


def test_a_file_that_becomes_shorter_while_it_is_hashed_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(100))
    with open_mapped(path) as file:
        path.write_bytes(bytes(50))
        with pytest.raises(OSError, match="became shorter"):
            Hashing(file).finish()


def test_legacy_storages_are_read_where_they_are_not_aligned(tmp_path: Path) -> None:
    state = {"conv1.weight": torch.randn(5, 3), "a": torch.randn(2000), "b": torch.arange(7, dtype=torch.float64)}
    torch.save(state, tmp_path / "c3d.pth", _use_new_zipfile_serialization=False)
    read = read_file(tmp_path / "c3d.pth")
    assert read.container == "torch legacy"
    assert all(torch.equal(load_tensors(read)[name], value) for name, value in state.items())
