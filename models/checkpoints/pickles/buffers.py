"""From bytes of the file to a flat tensor: a view, or a copy where byte order or alignment require one."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from models.checkpoints.copying import copy_bytes
from models.checkpoints.pickles.limits import Budget


def flat_tensor(raw: memoryview, dtype: torch.dtype, budget: Budget, *, big_endian: bool = False) -> Tensor:
    """Return the whole of `raw` as a tensor of one axis; its length must be a multiple of the dtype's size.

    Aligned numbers in this machine's byte order are a view of `raw`, all others are copied once.

    Raises:
        PickleError: the budget does not allow the copy.
    """
    if not raw.nbytes:
        return torch.empty(0, dtype=dtype)
    swapped = dtype.itemsize > 1 and big_endian != (sys.byteorder == "big")
    numbers = np.frombuffer(raw, np.uint8)
    if swapped or raw.readonly or numbers.ctypes.data % dtype.itemsize:
        budget.charge_bytes(raw.nbytes)
        copy = copy_bytes(raw)
        if swapped:
            component = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
            copy.numpy().view(f"u{component}").byteswap(inplace=True)
        return copy.view(dtype)
    return torch.from_numpy(numbers).view(dtype)
