"""A file of any origin becomes {canonical name: tensor}, completely or not at all.

`readers/` turns a kind of file into named tensors and never executes what it reads; `layouts.py` is the table of
origins that names them canonically; `loading.py` puts them into a network and accounts for every one.
"""

from models.checkpoints.loading import Checkpoint, Coverage, load_into, read_checkpoint

__all__ = ["Checkpoint", "Coverage", "load_into", "read_checkpoint"]
