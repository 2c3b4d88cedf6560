"""A file of any origin becomes {canonical name: tensor}, completely or not at all.

`sources.py` finds or downloads the file; `readers/` turns a kind of file into named tensors and never executes what
it reads; `layouts.py` is the table of origins, `recognition.py` finds a file's row in it, `foreign.py` names what is no
C3D; `loading.py` puts the tensors into a network and accounts for every one.
"""

from models.checkpoints.loading import (
    Checkpoint,
    Coverage,
    load_into,
    name_canonically,
    read_checkpoint,
    read_raw,
)

__all__ = ["Checkpoint", "Coverage", "load_into", "name_canonically", "read_checkpoint", "read_raw"]
