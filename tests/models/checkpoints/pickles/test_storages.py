"""Storages that are parts of others (torch's legacy format), and the copies that the budget counts."""

import numpy as np
import pytest

from models.checkpoints.dtypes import DTYPES, UINT8
from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.legacy import LegacyStorages
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.storages import Storage, StorageData, make_tensor
from models.checkpoints.pickles.values import Global
from models.checkpoints.tensors import load_tensor

NUMBERS = np.arange(10, dtype="<f4")


def make_view(cls: str, offset: int, size: int) -> Storage:
    """Return a part of a storage with the bytes of NUMBERS, as a legacy file has it."""
    storages = LegacyStorages()
    count = NUMBERS.nbytes if cls == "ByteStorage" else len(NUMBERS)
    storage = storages(["storage", Global("torch", cls), "0", "cpu", count, ["1", offset, size]])
    assert isinstance(storage, Storage)
    file = memoryview(bytearray(count.to_bytes(8, "little") + NUMBERS.tobytes()))
    assert storages.locate("0", file, 0) == len(file)
    return storage


def load(tensor: object) -> list[float]:
    assert isinstance(tensor, FileTensor)
    return load_tensor(tensor).tolist()


def test_a_part_of_a_storage_begins_where_it_does() -> None:
    part = make_view("FloatStorage", 4, 3)
    assert load(part.resolve(Budget(1000))) == [4, 5, 6]
    tensor = make_tensor(part, 1, [2], [1])
    assert tensor is not None
    assert load(tensor.resolve(Budget(1000))) == [5, 6]


def test_a_tensor_of_another_dtype_than_the_part_of_a_storage_begins_there_too() -> None:
    part = make_view("ByteStorage", 8, 12)
    tensor = make_tensor(part, 1, [2], [1], DTYPES["float32"])
    assert tensor is not None
    assert load(tensor.resolve(Budget(1000))) == [3, 4]
    with pytest.raises(PickleError):
        make_tensor(make_view("ByteStorage", 6, 12), 0, [1], [1], DTYPES["float32"])


def test_a_copy_that_torch_needs_is_counted_once_for_each_dtype() -> None:
    class Counter(Budget):
        charged = 0

        def charge_bytes(self, size: int) -> None:
            self.charged += size

    budget, raw = Counter(0), memoryview(bytearray(41))
    aligned, other = StorageData(raw[:40]), StorageData(raw[1:])
    for _ in range(2):
        aligned.resolve(DTYPES["float32"], budget)
        other.resolve(UINT8, budget)
        assert budget.charged == 0
    for _ in range(2):
        other.resolve(DTYPES["float32"], budget)
        assert budget.charged == 40
    other.resolve(DTYPES["float64"], budget)
    assert budget.charged == 80
