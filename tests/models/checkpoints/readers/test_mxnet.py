"""MXNet's parameter files, written here from the format's description (src/ndarray/ndarray.cc), are read."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.loaded import load_tensors
from helpers.mxnet_params import FLAGS, V1, V2, V3, array_bytes, write_list

from models.checkpoints.readers import read_file
from models.errors import CheckpointError

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("version", [0, V1, V2, V3])
@pytest.mark.parametrize("dtype", FLAGS)
def test_every_version_and_element_type(version: int, dtype: str, tmp_path: Path) -> None:
    values = VALUES.astype(dtype)
    path = write_list(
        tmp_path / "c3d-0000.params", [array_bytes(values, version)] * 2, ["arg:conv1_weight", "fc6.weight"]
    )
    found = read_file(path)
    assert list(load_tensors(found)) == ["conv1_weight", "fc6.weight"]
    assert all(np.array_equal(tensor.numpy(), values) for tensor in load_tensors(found).values())
    assert all(str(tensor.dtype) == f"torch.{dtype}" for tensor in load_tensors(found).values())


def test_bfloat16(tmp_path: Path) -> None:
    numbers = torch.tensor([1.0, -2.5], dtype=torch.bfloat16)
    bits = numbers.view(torch.int16).numpy()
    found = read_file(write_list(tmp_path / "c3d.params", [array_bytes(bits, V2, 12)], ["w"]))
    assert torch.equal(load_tensors(found)["w"], numbers)


def test_arrays_are_views_of_the_file(tmp_path: Path) -> None:
    path = write_list(tmp_path / "c3d.params", [array_bytes(VALUES)], ["w"])
    first, second = load_tensors(path)["w"], load_tensors(path)["w"]
    assert first.untyped_storage().data_ptr() % 4096 != 0  # not memory of its own: the file is mapped from its start
    first[0, 0] = 7
    assert (second[0, 0], load_tensors(path)["w"][0, 0]) == (0, 0)


def test_a_list_without_names(tmp_path: Path) -> None:
    found = read_file(write_list(tmp_path / "c3d.params", [array_bytes(VALUES), array_bytes(VALUES[0])], []))
    assert {name: tuple(tensor.shape) for name, tensor in load_tensors(found).items()} == {"0": (2, 3), "1": (3,)}


def test_an_array_without_a_shape_is_left_out_and_a_scalar_of_numpy_is_not(tmp_path: Path) -> None:
    none, unknown = array_bytes(np.zeros((), np.float32)), struct.pack("<Iii", V3, 0, -1)
    open_size = struct.pack("<Iiiqq", V3, 0, 2, -1, 3)
    scalar = array_bytes(np.array(5, np.float32), V3)
    path = write_list(tmp_path / "c3d.params", [none, unknown, open_size, scalar], ["a", "b", "c", "d"])
    assert load_tensors(path) == {"d": torch.tensor(5.0)}


def test_no_arrays_at_all(tmp_path: Path) -> None:
    path = tmp_path / "c_mx.params"
    path.write_bytes(struct.pack("<Q", 0x112) + bytes(72))
    assert load_tensors(path) == {}


def test_the_content_says_what_it_is_whatever_the_suffix(tmp_path: Path) -> None:
    assert read_file(write_list(tmp_path / "c3d.bin", [array_bytes(VALUES)], ["w"])).container == "MXNet parameters"


@pytest.mark.parametrize(
    ("arrays", "names", "match"),
    [
        ([array_bytes(VALUES, storage=1)], ["w"], r"row-sparse storage; save it dense, by tostype\('default'\)"),
        ([array_bytes(VALUES, storage=2)], ["w"], "CSR storage"),
        ([array_bytes(VALUES, storage=9)], ["w"], r"unknown \(9\) storage"),
        ([array_bytes(VALUES, flag=10)], ["w"], "MXNet's type 10; weights must be floats"),
        ([array_bytes(VALUES), array_bytes(VALUES)], ["w"], "names for 1 of its 2 arrays"),
        ([array_bytes(VALUES), array_bytes(VALUES)], ["arg:w", "w"], "two arrays are named w"),
        ([array_bytes(VALUES)[:-4]], [], "truncated|claims"),
        ([struct.pack("<Iii", V2, 0, 40)], ["w"], "an array of 40 axes"),
        ([struct.pack("<Iiiq", V2, 0, 1, -5)], ["w"], r"an array of shape \(-5,\)"),
        ([struct.pack("<Iiiqiii", V2, 0, 1, 1 << 60, 1, 0, 0)], ["w"], "truncated"),
    ],
)
def test_what_is_refused(arrays: list[bytes], names: list[str], match: str, tmp_path: Path) -> None:
    path = write_list(tmp_path / "c3d.params", arrays, names)
    with pytest.raises(CheckpointError, match=match):
        read_file(path)


@pytest.mark.parametrize("count", [10_001, 1 << 63])
def test_claimed_counts_are_bounded(count: int, tmp_path: Path) -> None:
    path = tmp_path / "c3d.params"
    path.write_bytes(struct.pack("<QQQ", 0x112, 0, count) + bytes(100))
    with pytest.raises(CheckpointError, match=f"claims {count} arrays"):
        read_file(path)
    path.write_bytes(struct.pack("<QQQQQ", 0x112, 0, 0, 1, 1 << 40))
    with pytest.raises(CheckpointError, match="claims a name of"):
        read_file(path)


@pytest.mark.parametrize("keep", range(8, 90, 9))
def test_truncated_anywhere(keep: int, tmp_path: Path) -> None:
    path = write_list(tmp_path / "c3d.params", [array_bytes(VALUES)], ["w"])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="truncated"):
        read_file(path)
