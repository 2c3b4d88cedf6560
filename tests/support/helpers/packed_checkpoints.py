"""One tensor, `conv1.weight`, in each file format that archives and compressed files may hold."""

import io

import h5py
import numpy as np
import torch
from safetensors.torch import save

VALUES = torch.arange(1000, dtype=torch.float32)


def torch_bytes(*, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save({"conv1.weight": VALUES}, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def npz_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=True, **{"conv1.weight": VALUES.numpy()})
    return stream.getvalue()


def h5_bytes() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["conv1.weight"] = VALUES.numpy()
    return stream.getvalue()


CHECKPOINTS = {
    "c3d.pth": torch_bytes(),
    "c3d.pth.tar": torch_bytes(zipped=False),
    "c3d.safetensors": save({"conv1.weight": VALUES}),
    "c3d.npz": npz_bytes(),
    "c3d.h5": h5_bytes(),
}
