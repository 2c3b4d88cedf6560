"""A file of any origin becomes {canonical name: tensor}, completely or not at all.

`sources.py` finds or downloads the file; `readers/` converts a file format to named tensors and never executes what
it reads; `layouts.py` is the table of origins, `recognition.py` finds a file's row in it, `foreign.py` names what is no
C3D; `loading.py` puts the tensors into a network and accounts for every one.

The names below are imported on first use: the table of origins must not cost an import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.checkpoints.loading import Checkpoint, load_into, read_checkpoint, read_raw, remap_keys

__all__ = ["Checkpoint", "load_into", "read_checkpoint", "read_raw", "remap_keys"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("models.checkpoints.loading"), name)
    raise AttributeError(f"module 'models.checkpoints' has no attribute {name!r}")
