"""Tensors of what readers describe: views of the mapped file where torch can use its numbers, else copies."""

from __future__ import annotations

import mmap
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from models.checkpoints.dtypes import DType
from models.checkpoints.file_tensor import FileBytes, FileTensor

CHUNK = 8 << 20
"""Bytes that are copied before the pages that held them are released."""


def load_tensor(stored: FileTensor) -> Tensor:
    """Return the tensor, on the CPU; on the meta device where the file has no numbers of it.

    Tensors that share bytes in the file share memory, and a copy of those is made once.
    """
    if stored.data is None:
        return torch.empty_strided(stored.shape, stored.stride, dtype=torch_dtype(stored.dtype), device="meta")
    flat = _load_flat(stored.data, stored.dtype)
    tensor = torch.as_strided(flat, stored.shape, stored.stride, stored.offset)
    tensor = tensor.conj() if stored.conjugate else tensor
    return cast("Any", torch)._neg_view(tensor) if stored.negative else tensor


def make_zeros(length: int) -> Tensor:
    """Return a bias that adds nothing: (length,), float32."""
    return torch.zeros(length)


def torch_dtype(dtype: DType) -> torch.dtype:
    """Return torch's own."""
    return getattr(torch, dtype.name)


def _load_flat(data: FileBytes, dtype: DType) -> Tensor:
    """Return the bytes as a tensor of one axis; the same one for every tensor that shares them."""
    if dtype not in data.loaded:
        data.loaded[dtype] = _make_flat(data, dtype)
    return data.loaded[dtype]


def _make_flat(data: FileBytes, dtype: DType) -> Tensor:
    raw = data.raw[: data.raw.nbytes // dtype.itemsize * dtype.itemsize]
    if not raw.nbytes:
        return torch.empty(0, dtype=torch_dtype(dtype))
    if not data.must_copy(dtype):
        return torch.from_numpy(np.frombuffer(raw, np.uint8)).view(torch_dtype(dtype))
    copy = copy_bytes(raw)
    if data.is_swapped(dtype):
        copy.numpy().view(f"u{dtype.swapped_size}").byteswap(inplace=True)
    return copy.view(torch_dtype(dtype))


def copy_bytes(raw: memoryview) -> Tensor:
    """Return a copy of `raw`, uint8 of one axis, in memory of its own.

    Where `raw` is a part of a mapped file, its pages are released as they are copied, so that the file is not in
    memory twice. torch allocates: NumPy asks for huge pages, which take the kernel several times as long.
    """
    copy = torch.empty(raw.nbytes, dtype=torch.uint8)
    source, target = np.frombuffer(raw, np.uint8), copy.numpy()
    mapped = raw.obj if isinstance(raw.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None
    first = 0 if mapped is None else source.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    free = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE  # the first page that holds nothing else
    for start in range(0, raw.nbytes, CHUNK):
        stop = min(start + CHUNK, raw.nbytes)
        target[start:stop] = source[start:stop]
        done = (first + stop) // mmap.PAGESIZE * mmap.PAGESIZE
        if mapped is not None and done > free:
            mapped.madvise(mmap.MADV_DONTNEED, free, done - free)
            free = done
    return copy
