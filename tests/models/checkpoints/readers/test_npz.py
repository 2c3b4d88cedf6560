"""npz files: arrays are read as they are stored, and nothing is unpickled."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.checkpoints.readers import read_file
from models.errors import CheckpointError


def refuse(path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_file(path)
    assert str(path) in str(caught.value)


def test_compressed_and_byte_swapped_arrays_are_read(tmp_path: Path) -> None:
    values = np.arange(2000, dtype=np.float32).reshape(40, 50)
    with h5py.File(tmp_path / "c3d.h5", "w") as file:
        file.create_dataset("fc6/kernel", data=values, chunks=(8, 8), compression="gzip")
        file.create_dataset("fc7/kernel", data=values.astype(">f4"))
    np.savez_compressed(
        tmp_path / "c3d.npz", packed=values, swapped=values.astype(">f4"), turned=np.asfortranarray(values)
    )
    np.savez(tmp_path / "plain.npz", plain=values, turned=np.asfortranarray(values), half=values.astype(np.float16))
    for name in ("c3d.h5", "c3d.npz", "plain.npz"):
        for tensor in read_file(tmp_path / name).tensors.values():
            assert np.array_equal(tensor.float().numpy(), values)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "c3d.npz", conv1=np.array([{"a": 1}], dtype=object))
    refuse(tmp_path / "c3d.npz", "conv1 holds object, not plain numbers; nothing is unpickled")


def test_a_zip_bomb_is_refused_by_its_claim(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", conv1=np.zeros(140_000_000, np.float32))
    refuse(tmp_path / "bomb.npz", "claims to unpack to far more than its own size")


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive, archive.open("w.npy", "w") as stream:
        np.lib.format.write_array(stream, np.zeros((5 << 20,), np.float32))
    assert path.stat().st_size < 1000
    with pytest.raises(CheckpointError, match="claims to unpack to far more than its own size"):
        read_file(path)
