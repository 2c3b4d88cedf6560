"""Numbers that an input's dtype does not hold are refused: of an option as wrong usage, of a file as a bad file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.errors import BadInputError
from exporter.parity.arrays import read_npy, read_npz
from exporter.parity.input_checks import number_limits
from models.specs import TensorSpec


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [
        ("float16", 65504),
        ("bfloat16", (2 - 2**-7) * 2.0**127),
        ("float8e4m3fn", 448),
        ("float8e5m2", 57344),
        ("float32", (2 - 2**-23) * 2.0**127),
        ("uint8", 255),
        ("int4", 7),
        ("int32", 2**31 - 1),
    ],
)
def test_the_largest_number_of_a_dtype(dtype: str, largest: float) -> None:
    assert number_limits(dtype).high == largest


def saved(path: Path, values: Any) -> Path:
    np.save(path, values)
    return path


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float16", [0.0, 1e5]),
        ("float32", [-1e39, 0.0]),
        ("int32", [0, 2**40]),
        ("uint8", [-1, 3]),
        ("int8", [0.0, 128.0]),
        ("uint64", [-1, 3]),
    ],
)
def test_a_file_with_a_number_beyond_the_dtype_is_a_bad_file(dtype: str, values: list[float], tmp_path: Path) -> None:
    spec = TensorSpec("x", dtype, (2,))
    with pytest.raises(BadInputError, match=r"x.npy: x has .*; x \w+ \(2\) holds numbers of .* only$"):
        read_npy(saved(tmp_path / "x.npy", np.array(values)), spec)
    np.savez(tmp_path / "x.npz", x=np.array(values))
    with pytest.raises(BadInputError, match="holds numbers of"):
        read_npz(tmp_path / "x.npz", (spec,))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("float16", [np.inf, np.nan]), ("float16", [65504.0, -65504.0]), ("uint8", [0, 255]), ("float64", [1e300, 0.0])],
)
def test_the_ends_of_a_dtype_and_what_is_no_number_are_read(dtype: str, values: list[float], tmp_path: Path) -> None:
    read = read_npy(saved(tmp_path / "x.npy", np.array(values)), TensorSpec("x", dtype, (2,)))
    assert np.array_equal(np.asarray(read, np.float64), np.array(values, np.float64), equal_nan=True)
