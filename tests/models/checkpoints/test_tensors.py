"""Descriptions of tensors are checked so far that torch makes every one of them, bit by bit."""

from __future__ import annotations

from math import prod
from typing import cast

import numpy as np
import pytest
import torch
from helpers.loaded import store
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.checkpoints.dtypes import DTYPES, NUMPY_DTYPES, QUANTISED, DType, from_numpy
from models.checkpoints.file_tensor import FileBytes, FileTensor, contiguous, contiguous_stride, is_possible
from models.checkpoints.tensors import load_tensor, torch_dtype

SIZES = st.one_of(st.integers(0, 3), st.integers(0, 62).map(lambda power: 1 << power), st.just((1 << 63) - 1))


@pytest.mark.parametrize("name", [*DTYPES, *QUANTISED])
def test_each_dtype_is_torchs(name: str) -> None:
    dtype = (DTYPES | QUANTISED)[name]
    own = cast("torch.dtype", getattr(torch, name))
    assert torch_dtype(dtype) is own
    assert dtype.itemsize == own.itemsize
    assert dtype.swapped_size == own.itemsize // (1 + own.is_complex)


def test_each_of_numpys_dtypes_is_of_the_same_numbers() -> None:
    for code, dtype in NUMPY_DTYPES.items():
        assert torch.from_numpy(np.empty(0, code)).dtype == torch_dtype(dtype)
        assert from_numpy(np.dtype(code)) == from_numpy(np.dtype(f">{code}")) == dtype
    assert [from_numpy(np.dtype(code)) for code in ("U4", "S1", "M8[s]", "O")] == [None] * 4


@pytest.mark.parametrize("dtype", {*DTYPES.values()})
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("big_endian", [False, True])
def test_any_bits_of_any_dtype(dtype: DType, start: int, big_endian: bool) -> None:
    raw = np.random.default_rng(0).bytes(start + 24 * dtype.itemsize + 1)
    stored = contiguous(dtype, (4, 6), FileBytes(memoryview(bytearray(raw))[start:], big_endian=big_endian))
    tensor = load_tensor(stored)
    assert (tensor.dtype, tuple(tensor.shape), tensor.stride()) == (torch_dtype(dtype), (4, 6), (6, 1))
    size = dtype.swapped_size
    numbers = np.frombuffer(raw, f"{'>' if big_endian else '<'}u{size}", 24 * dtype.itemsize // size, start)
    assert tensor.view(torch.uint8).numpy().tobytes() == numbers.astype(f"u{size}").tobytes()


def test_numbers_are_shared_where_the_file_shares_them_and_copied_once_where_not_aligned() -> None:
    for start in (0, 1):
        data = FileBytes(memoryview(bytearray(start + 40))[start:])
        first, second = (FileTensor(DTYPES["float32"], (5,), (1,), data, offset) for offset in (0, 5))
        assert data.must_copy(first.dtype) == bool(start)
        load_tensor(first)[4] = 7
        assert load_tensor(FileTensor(DTYPES["float32"], (10,), (1,), data)).tolist() == [0, 0, 0, 0, 7, 0, 0, 0, 0, 0]
        assert load_tensor(second).tolist() == [0] * 5
    assert FileBytes(memoryview(bytes(4))).must_copy(DTYPES["uint8"])  # torch writes where it is told to
    assert not FileBytes(memoryview(b"")).must_copy(DTYPES["float32"])


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4), (1, 1, 5)])
def test_strides_are_those_of_torch(shape: tuple[int, ...]) -> None:
    assert contiguous_stride(shape) == torch.empty(shape).stride()
    values = torch.arange(float(prod(shape))).reshape(shape)
    stored = store(values)
    assert torch.equal(load_tensor(stored), values)
    assert torch.equal(load_tensor(stored.transpose()), values.permute(tuple(reversed(range(values.dim())))))


def test_what_torch_cannot_describe_is_not_possible() -> None:
    largest = DTYPES["complex128"], (1 << 58,), (1,)
    assert is_possible(*largest)
    assert load_tensor(FileTensor(*largest, None)).numel() == 1 << 58
    assert not is_possible(DTYPES["float32"], (0, 1 << 62))
    assert not is_possible(DTYPES["float32"], (3, 2), (1 << 61, 1))
    assert is_possible(DTYPES["uint8"], (1,) * 64)
    assert not is_possible(DTYPES["uint8"], (1,) * 65)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@given(sizes=st.lists(st.tuples(SIZES, SIZES), max_size=5), dtype=st.sampled_from([*DTYPES.values()]))
@settings(max_examples=400)
def test_what_is_possible_is_made(sizes: list[tuple[int, int]], dtype: DType) -> None:
    """On the meta device, where every shape that torch can describe exists; and empty ones in memory."""
    shape, stride = tuple(size for size, _ in sizes), tuple(step for _, step in sizes)
    assume(is_possible(dtype, shape, stride))
    assert load_tensor(FileTensor(dtype, shape, stride, None)).shape == shape
    if 0 in shape:
        assert load_tensor(FileTensor(dtype, shape, stride, FileBytes(memoryview(b"")))).shape == shape
