"""Reads what `torch.save` wrote, old format or zip, with `weights_only=True` and nothing else.

torch itself does not check the zip's CRCs, so a flipped bit would load as a silently different weight; here every
member is checked before anything is parsed.
"""

import contextlib
import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from models.checkpoints.readers.base import CHUNK, RawCheckpoint, hash_stream
from models.errors import CheckpointError, listing

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state_dict, in the order they are tried, before the top."""

_PLAIN_MODULES = ("torch", "torch._utils", "collections")
"""What a state_dict's own pickle imports from."""

ZIP_MAGIC = b"PK\x03\x04"
_WANTED = re.compile(r"GLOBAL ([\w.]+)|(?:call|Trying to (?:call|instantiate|import)) [`']?([\w.]+)")


def read_torch(path: Path) -> RawCheckpoint:
    """Read a checkpoint saved by `torch.save`: a state_dict, bare or wrapped.

    Raises:
        CheckpointError: damaged, truncated, a TorchScript archive, a pickle that wants to call something, or without
            tensors.
    """
    with path.open("rb") as stream:
        sha256 = hash_stream(stream)
        zipped = stream.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        if zipped:
            _check_zip(path, stream)
        stream.seek(0)
        content = _load(path, stream)
        size = path.stat().st_size
    state, wrapper = _unwrap(path, content)
    return RawCheckpoint(state, "torch zip" if zipped else "torch legacy", wrapper, sha256, size)


def _check_zip(path: Path, stream: BinaryIO) -> None:
    """Refuse an archive that is damaged, ambiguous, compressed, or code rather than weights."""
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if any(name.endswith("/constants.pkl") for name in names):
                raise CheckpointError(
                    f"{path}: a TorchScript archive holds code, not only weights, and is never run to read them; "
                    "save its state_dict with torch.save in the process that trusts it"
                )
            if len(set(names)) < len(names):
                raise CheckpointError(f"{path}: two members of the archive have the same name")
            for member in members:
                if member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED:
                    raise CheckpointError(
                        f"{path}: member {member.filename} is compressed or encrypted; "
                        "torch.save stores its members plainly"
                    )
                with archive.open(member) as content:
                    while content.read(CHUNK):
                        pass
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: the archive is damaged or truncated: {error}") from error


def _load(path: Path, stream: BinaryIO) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a newer pickle protocol is no concern of the user's
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error), stream)) from error
    except Exception as error:  # whatever torch's parser trips over, it is the file that is bad
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: not a sound PyTorch checkpoint: {first}") from error


def _refusal(path: Path, message: str, stream: BinaryIO) -> str:
    found = _WANTED.search(message)
    wanted = (found.group(1) or found.group(2)) if found else _first_global(stream)
    if wanted is None:
        return f"{path}: not a sound PyTorch checkpoint: damaged, or another kind of file"
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


def _unwrap(path: Path, content: object) -> tuple[dict[str, Tensor], str]:
    """Return the state_dict and the key it stood under."""
    candidates: list[tuple[str, object]] = []
    if isinstance(content, Mapping):
        outer = cast("Mapping[Any, Any]", content)
        candidates = [(key, outer[key]) for key in WRAPPERS if key in outer]
    for wrapper, candidate in (*candidates, ("", content)):
        if isinstance(candidate, Mapping):
            state = cast("Mapping[Any, Any]", candidate)
            tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors, wrapper
    kind = type(content).__name__
    keys = (
        f" with the keys {listing(map(str, cast('Mapping[Any, Any]', content)))}"
        if isinstance(content, Mapping)
        else ""
    )
    raise CheckpointError(
        f"{path}: holds a {kind}{keys}, but no state_dict; looked at the top and under {', '.join(WRAPPERS)}"
    )
