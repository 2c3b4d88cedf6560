"""Copies of a mapped file's bytes, for tensors that torch cannot read in place (wrong byte order or alignment)."""

from __future__ import annotations

import mmap

import numpy as np
import torch
from torch import Tensor

CHUNK = 8 << 20
"""Bytes that are copied before the pages that held them are released."""


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
