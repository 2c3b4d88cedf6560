"""npz files: arrays are read as they are stored, and nothing is unpickled."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.loaded import load_tensors

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
    for name, count in (("c3d.h5", 2), ("c3d.npz", 3), ("plain.npz", 3)):
        tensors = load_tensors(tmp_path / name)
        assert len(tensors) == count
        for tensor in tensors.values():
            assert np.array_equal(tensor.float().numpy(), values)


def test_a_member_that_the_damaged_directory_loses_is_missed(tmp_path: Path) -> None:
    """A wrong length of a comment hides the entries behind it: zipfile reads the others."""
    np.savez(tmp_path / "c3d.npz", a=np.zeros(3), b=np.ones(3))
    content = bytearray((tmp_path / "c3d.npz").read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 32] = 200
    (tmp_path / "c3d.npz").write_bytes(content)
    assert zipfile.ZipFile(tmp_path / "c3d.npz").namelist() == ["a.npy"]
    refuse(tmp_path / "c3d.npz", "its directory lists 1 members")


def test_a_member_whose_place_is_before_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "c3d.npz", a=np.zeros(3))
    content = bytearray((tmp_path / "c3d.npz").read_bytes())
    end = content.index(b"PK\x05\x06")
    begin = int.from_bytes(content[end + 16 : end + 20], "little")  # of the directory
    content[end + 16 : end + 20] = (begin + len(content)).to_bytes(
        4, "little"
    )  # Python counts negative ones from the end
    (tmp_path / "c3d.npz").write_bytes(content)
    refuse(tmp_path / "c3d.npz", "a.npy is not at its recorded offset")


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)  # pyright: ignore[reportDeprecated]


WEIGHTS = {"conv1.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc8.bias": np.arange(4, dtype=np.float64)}
SAVERS: list[Any] = [np.savez, np.savez_compressed]


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize(
    ("members", "prefix"),
    [
        ({"arr_0": WEIGHTS}, "arr_0."),
        ({"epoch": 3, "state": {"model": WEIGHTS}}, "state.model."),
        ({"names": np.array(["a", None], object), "w": np.array([WEIGHTS], object)}, "w."),
    ],
)
def test_a_dict_in_an_npz(save: Any, members: dict[str, Any], prefix: str, tmp_path: Path) -> None:
    save(tmp_path / "c3d.npz", **members)
    found = read_file(tmp_path / "c3d.npz")
    assert found.container == "npz, pickled"
    read = {name: value.tolist() for name, value in load_tensors(found).items() if name.startswith(prefix)}
    assert read == {f"{prefix}{name}": value.tolist() for name, value in WEIGHTS.items()}


@pytest.mark.parametrize("save", SAVERS)
def test_a_list_of_arrays_has_the_names_of_several_members(save: Any, tmp_path: Path) -> None:
    """As `numpy.savez(path, lasagne.layers.get_all_param_values(network))`, without a star."""
    arrays = np.empty(3, object)
    arrays[:] = [np.full(n + 1, n, np.float32) for n in range(3)]
    save(tmp_path / "c3d.npz", arrays)
    assert {name: value.tolist() for name, value in load_tensors(tmp_path / "c3d.npz").items()} == {
        f"arr_{n}": [n] * (n + 1) for n in range(3)
    }


@pytest.mark.parametrize("save", SAVERS)
def test_nothing_of_an_npz_is_executed(save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "c3d.npz", weights=WEIGHTS, extra=np.array([Evil()], object))
    found = read_file(tmp_path / "c3d.npz")
    assert [*load_tensors(found)] == [f"weights.{name}" for name in WEIGHTS]
    assert found.hazards == (f"{os.name}.system",)
    assert not (tmp_path / "ran").exists()
    save(tmp_path / "bad.npz", extra=np.array([Evil()], object))
    refuse(tmp_path / "bad.npz", "no tensors; it contains .*system, not executed")


def test_a_damaged_pickle_in_an_npz_is_named(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.save(header, np.array({"a": 1}, object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "c3d.npz", "w") as archive:
        archive.writestr("weights.npy", header.getvalue()[:-3])
    refuse(tmp_path / "c3d.npz", "not a valid pickle in a .npz file: weights: it is truncated")


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
