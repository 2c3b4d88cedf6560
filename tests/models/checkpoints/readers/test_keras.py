"""An HDF5 file is parsed in a process with limits: a damaged file can neither hang nor crash the one that reads it."""

import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers.loaded import load_tensors

from models.checkpoints.readers import keras, read_file
from models.errors import CheckpointError

VALUES = np.arange(4096, dtype=np.float32).reshape(64, 64)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "c3d.h5"
    with h5py.File(path, "w") as file:
        for number in range(20):
            file.create_dataset(f"layer{number}/kernel", data=VALUES + number, chunks=(8, 8), compression="gzip")
    return path


def refuse(path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_file(path)
    assert str(path) in str(caught.value)


def test_arrays_in_one_piece_and_in_chunks_of_any_type(tmp_path: Path) -> None:
    expected = {
        "whole/a": VALUES,
        "packed/b": VALUES[::-1].astype(np.float16),
        "swapped/c": VALUES.astype(">f8"),
        "fortran/d": np.asfortranarray(VALUES),
        "scalar/e": np.array(3.5),
        "empty/f": np.zeros((0, 3), np.float32),
        "flags/g": VALUES > 7,
    }
    with h5py.File(tmp_path / "c3d.h5", "w") as file:
        for name, values in expected.items():
            packing = {"compression": "gzip"} if name == "packed/b" else {}
            file.create_dataset(name, data=values, **packing)
    found = load_tensors(tmp_path / "c3d.h5")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name].numpy(), values)
        assert found[name].numpy().dtype == values.dtype.newbyteorder("=")


def test_parsing_without_an_end_is_stopped(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(load_tensors(packed)) == 20
    monkeypatch.setattr(keras, "SECONDS", 1e-3)
    monkeypatch.setattr(keras, "BYTES_PER_SECOND", 1e12)
    refuse(packed, "not a valid HDF5 file: parsing it crashed, or reached 0.0 s")


def test_parsing_that_waits_without_an_end_is_stopped(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras, "WAITING", (0.01, 0.0))
    refuse(packed, "parsing it takes over 0 s")


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c3d.h5"
    with h5py.File(path, "w") as file:  # one chunk of 16 MB, which unpacking needs at once
        file.create_dataset("a/c", data=np.zeros((2048, 1024)), compression="gzip", chunks=(2048, 1024))
    assert torch.equal(load_tensors(path)["a/c"], torch.zeros(2048, 1024, dtype=torch.float64))
    monkeypatch.setattr(keras, "MEMORY", (8 << 20) - read_limit(path))
    refuse(path, "needs more than 8 MiB to be parsed|memory allocation failed|not a valid HDF5 file")


def read_limit(path: Path) -> int:
    from models.checkpoints.readers.base import open_mapped

    with open_mapped(path) as file:
        return file.max_unpacked


def test_a_crash_of_the_library_is_a_refusal(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = tmp_path / "crash.py"
    crash.write_text(f"import os\nos.kill(os.getpid(), {int(signal.SIGSEGV)})\n")
    monkeypatch.setattr(keras, "WORKER", crash)
    refuse(packed, "not a valid HDF5 file: parsing it crashed")


def test_the_parser_imports_nothing_of_this_folder_or_project(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(keras.WORKER.parent)  # torch.py and onnx.py are here
    monkeypatch.setenv("PYTHONPATH", str(keras.WORKER.parent))
    assert len(load_tensors(packed)) == 20
