"""One reader per file format. A reader returns the file's tensors under the file's own names and executes nothing.

The format is detected from the first bytes, not from the name: Caffe's files have no suffix, TensorFlow's a number.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.readers.archives import open_inside
from models.checkpoints.readers.base import Hashing, MappedFile, ReadResult, open_mapped
from models.checkpoints.readers.caffe import looks_like_caffe, read_caffe
from models.checkpoints.readers.foreign import describe_foreign
from models.checkpoints.readers.keras import is_hdf5, read_keras
from models.checkpoints.readers.mxnet import is_mxnet, read_mxnet
from models.checkpoints.readers.npy import is_npy, read_npy
from models.checkpoints.readers.npz import SUFFIX, read_npz
from models.checkpoints.readers.onnx import read_onnx
from models.checkpoints.readers.pt2 import is_pt2, read_pt2
from models.checkpoints.readers.safetensors import is_safetensors, read_safetensors
from models.checkpoints.readers.shards import is_index, read_shards
from models.checkpoints.readers.tensorflow import is_table, read_tf_checkpoint
from models.checkpoints.readers.torch import TEXT_FILE, is_pickle, is_text, is_torch, read_torch
from models.checkpoints.readers.torchscript import is_torchscript, read_torchscript
from models.checkpoints.readers.zip_archive import is_zip, member_names
from models.errors import CheckpointError
from models.garbage_collection import garbage_collection_paused
from models.native import native_call
from models.paths import DISTRIBUTED_INDEX, describe_folder, require_file


@dataclass(frozen=True)
class FileFormat:
    """A file format.

    Attributes:
        name: for display.
        suffixes: usual suffixes of such files; none where another format has them.
        read: its reader.
        detect: detects it from the content; None if only the suffix can identify it.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[MappedFile], ReadResult]
    detect: Callable[[MappedFile], bool] | None = None


def _is_npz(file: MappedFile) -> bool:
    return is_zip(file) and any(name.endswith(SUFFIX) for name in member_names(file))


READERS: tuple[FileFormat, ...] = (
    FileFormat("HDF5 (Keras)", (".h5", ".hdf5"), read_keras, is_hdf5),
    FileFormat("npz (numpy, chainer)", (".npz",), read_npz, _is_npz),
    FileFormat("npy (numpy.save of a dict)", (".npy",), read_npy, is_npy),
    FileFormat("TorchScript", (), read_torchscript, is_torchscript),
    FileFormat("torch.export", (".pt2",), read_pt2, is_pt2),
    FileFormat("PyTorch", (".pth", ".pt", ".pickle", ".pkl", ".tar", ".ckpt", ".bin", ".keras"), read_torch, is_torch),
    FileFormat("index of shards (Hugging Face)", (), read_shards, is_index),
    FileFormat("safetensors", (".safetensors",), read_safetensors, is_safetensors),
    FileFormat("TensorFlow checkpoint", (".model", ".mdlp", ".index"), read_tf_checkpoint, is_table),
    FileFormat("MXNet (GluonCV)", (".params",), read_mxnet, is_mxnet),
    FileFormat("pickle (Paddle)", (".pdparams",), read_torch, is_pickle),
    FileFormat("ONNX", (".onnx",), read_onnx),
    FileFormat("caffemodel", (".caffemodel", ".binaryproto"), read_caffe),
)
"""Content is checked in this order, then the suffix."""

SUFFIXES = frozenset(suffix for kind in READERS for suffix in kind.suffixes)

DISTRIBUTED_SUFFIX = ".distcp"
"""Of the files with numbers that torch.distributed.checkpoint writes; `.metadata` beside them says what they are."""

_State = tuple[int, int, int, int]

_read_ahead: dict[Path, tuple[_State, ReadResult]] = {}
"""{path: its state and what was read}; of one file at most."""


def read_file(path: Path, *, ahead: bool = False) -> ReadResult:
    """Read `path` with the reader of its format, and hash it meanwhile.

    Args:
        path: the file.
        ahead: keep what was read for the call that follows, which takes it if the file is still the same. So a command
            refuses a bad file before it imports torch, and reads a good one once.

    Raises:
        CheckpointError: no such file, not a file, empty, of an unknown format, or refused by its reader.
        UnavailableError: its reader needs a library that is not installed.
    """
    now = _state(path)
    state, read = _read_ahead.pop(path, (None, None))
    if read is None or state != now:
        read = _read(path)
    if ahead:
        forget_read_ahead()
        _read_ahead[path] = now, read
    return read


def forget_read_ahead() -> None:
    """Let go of what was read ahead, where no other call takes it."""
    _read_ahead.clear()


def _state(path: Path) -> _State:
    """Return what a file's content belongs to: device, inode, size and time of the last change."""
    require_file(path, "checkpoint", CheckpointError)
    try:
        about = path.stat()
    except OSError as error:
        raise CheckpointError(f"cannot access {path}: {error.strerror or error}") from error
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


def _read(path: Path) -> ReadResult:
    if path.suffix == DISTRIBUTED_SUFFIX or path.name == DISTRIBUTED_INDEX:
        raise CheckpointError(f"{path}: a part of a checkpoint{describe_folder(path.parent)}")
    try:
        with native_call("the reader of checkpoints", path), open_mapped(path) as file:
            hashing = Hashing(file)
            try:
                with open_inside(file, SUFFIXES) as inner:
                    if inner is not file:
                        hashing.finish()
                        file.release()
                    kind = detect_format(inner)
                    with native_call(f"the reader of {kind.name}", path), garbage_collection_paused():
                        contents = kind.read(inner)
                if len(contents.tensors) > MAX_TENSORS:
                    raise CheckpointError(f"{len(contents.tensors)} tensors: more than {MAX_TENSORS}")
            finally:
                sha256 = hashing.finish()
            if inner.archive:
                container = " in ".join((contents.container, *inner.archive))
                return replace(contents, container=container, others=(), sha256=sha256, size=file.size)
            if contents.others:
                sha256 = hashing.finish(contents.others)
            size = file.size + sum(other.size for other in contents.others)
            return replace(contents, sha256=sha256, size=size)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def identify(path: Path) -> str | None:
    """Return the name of a checkpoint's format, by its content; None for another file."""
    try:
        with open_mapped(path) as file:
            found = (kind.name for kind in READERS if kind.detect is not None and kind.detect(file))
            caffe = file.suffix in ("", ".caffemodel") and looks_like_caffe(file) and not is_text(file.data[:512])
            return next(found, "Caffe" if caffe else None)
    except (CheckpointError, OSError):
        return None


def detect_format(file: MappedFile) -> FileFormat:
    """Return the format of a file: by its content, or by its suffix if the content does not identify it.

    Raises:
        CheckpointError: the format is unknown.
    """
    for kind in READERS:
        if kind.detect is not None and kind.detect(file):
            return kind
    head = file.data[:512].lstrip()
    if head.startswith(b"<?xml") and b"<net " in head:
        raise CheckpointError("an OpenVINO model, from which no weights are read; give its checkpoint")
    if foreign := describe_foreign(file):
        raise CheckpointError(foreign)
    by_suffix = next((kind for kind in READERS if file.suffix in kind.suffixes), None)
    # a pickle of protocol 0 is text, too: its reader decides
    if (by_suffix is None or by_suffix.read is not read_torch) and is_text(file.data[:512]):
        raise CheckpointError(f"{TEXT_FILE}")
    if by_suffix is not None:
        return by_suffix
    if looks_like_caffe(file):  # facebook's own files have no suffix
        return next(kind for kind in READERS if kind.read is read_caffe)
    known = ", ".join(suffix for kind in READERS for suffix in kind.suffixes)
    raise CheckpointError(f"unknown checkpoint format {file.suffix!r}; known are {known}")
