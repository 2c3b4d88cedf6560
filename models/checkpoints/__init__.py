"""A file of any origin becomes {canonical name: tensor}, completely or not at all.

`sources.py` finds or downloads the file; `readers/` converts a file format to a tree of tensors and never executes what
it reads; `contents.py` gives each tensor a path. `layouts.py` is the table of origins, `detection.py` finds the
networks in a file by its rows, `selection.py` chooses one of them, `extra_tensors.py` accounts for every other
tensor; `unsupported.py` names what is no C3D. `checkpoint.py` brings these together, `loading.py` fills a network.

The names below are imported on first use: the table of origins must not cost an import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.checkpoints.checkpoint import Checkpoint, read_checkpoint, read_raw, remap_keys
    from models.checkpoints.loading import load_into

__all__ = ["Checkpoint", "load_into", "read_checkpoint", "read_raw", "remap_keys"]


def __getattr__(name: str) -> object:
    if name in __all__:
        module = "loading" if name == "load_into" else "checkpoint"
        return getattr(import_module(f"models.checkpoints.{module}"), name)
    raise AttributeError(f"module 'models.checkpoints' has no attribute {name!r}")
