"""Reads what `torch.save` wrote, old format or zip, with `weights_only=True` and nothing else.

The zip format's tensors are mapped, not copied, after every member's CRC was checked; the old format's are copied.
"""

import contextlib
import io
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, BinaryIO

import torch

from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.zip_archive import MAGIC as ZIP_MAGIC
from models.checkpoints.readers.zip_archive import is_zip, member_names, verified_members
from models.errors import CheckpointError
from models.paths import descriptor_path

_PLAIN_MODULES = ("torch", "torch._utils", "collections")
"""What a state_dict's own pickle imports from."""

_WANTED = re.compile(r"GLOBAL ([\w.]+)|(?:call|Trying to (?:call|instantiate|import)) [`']?([\w.]+)")


def read_torch(file: MappedFile) -> ReadResult:
    """Read a checkpoint saved by `torch.save`, whatever it nests.

    Raises:
        CheckpointError: damaged, truncated, a TorchScript archive, or a pickle that wants to call something.
    """
    zipped = is_zip(file)
    if zipped:
        _check_zip(file)
    file.stream.seek(0)
    return ReadResult(_load(file, mapped=zipped), "torch zip" if zipped else "torch legacy")


def _check_zip(file: MappedFile) -> None:
    """Refuse an archive that is damaged, ambiguous, compressed, or code rather than weights."""
    names = member_names(file)
    if "model.weights.h5" in names:
        raise CheckpointError(
            f"{file.path}: a .keras archive holds a model's code beside its weights; where it was made, "
            "model.save_weights('c3d.weights.h5') writes the weights alone"
        )
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{file.path}: a TorchScript archive holds code, not only weights, and is never run to read them; "
            "save its state_dict with torch.save in the process that trusts it"
        )
    for member in verified_members(file):
        if not member.stored:
            raise CheckpointError(
                f"{file.path}: member {member.info.filename} is compressed; torch.save stores its members plainly"
            )


def _load(file: MappedFile, *, mapped: bool) -> object:
    # torch maps files by name only; this name is the open descriptor's, so that what was hashed is what is mapped.
    descriptor = descriptor_path(file.stream) if mapped else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a newer pickle protocol is no concern of the user
            source = file.stream if descriptor is None else str(descriptor)
            return torch.load(source, map_location="cpu", weights_only=True, mmap=descriptor is not None)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(file.path, str(error), file.stream)) from error
    except Exception as error:  # any error of torch's parser means that the file is damaged
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if descriptor is not None:
            first = first.replace(str(descriptor), file.path.name)
        raise CheckpointError(f"{file.path}: not a valid PyTorch checkpoint: {first}") from error


def _refusal(path: Path, message: str, stream: BinaryIO) -> str:
    found = _WANTED.search(message)
    wanted = (found.group(1) or found.group(2)) if found else _first_global(stream)
    if wanted is None:
        return f"{path}: not a valid PyTorch checkpoint: damaged, or another file format"
    if wanted.startswith(("numpy", "_codecs", "_reconstruct")):
        return (
            f"{path}: refused: a pickle of numpy arrays (Lasagne's, caffe2's, Python 2's), and unpickling it would "
            f"call {wanted}; where you trust it, save them plainly: numpy.savez('c3d.npz', *pickle.load(open(file, "
            "'rb'), encoding='latin1')) for a list of them, or **… for a dict"
        )
    return (
        f"{path}: refused, because unpickling it would call {wanted}; a checkpoint must hold tensors only: "
        "where it was made, save model.state_dict() instead of the model"
    )


def _first_global(stream: BinaryIO) -> str | None:
    """Return the first name that a pickle would import beyond a state_dict's own, by reading its opcodes only."""
    stream.seek(0)
    if stream.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
        with zipfile.ZipFile(stream) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            source: IO[bytes] = io.BytesIO(archive.read(names[0])) if names else io.BytesIO()
    else:
        stream.seek(0)
        source = stream
    strings: list[str] = []
    with contextlib.suppress(Exception):  # a broken pickle ends the search, nothing more
        while True:  # the old format is several pickles, one after another
            for opcode, argument, _ in pickletools.genops(source):
                if opcode.name in ("GLOBAL", "INST"):
                    strings += str(argument).split(" ", 1)
                elif isinstance(argument, str):
                    strings.append(argument)
                if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL") and strings[-2] not in _PLAIN_MODULES:
                    return ".".join(strings[-2:])
    return None
