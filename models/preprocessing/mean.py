"""Mean files: a mean for each pixel, that an origin subtracts instead of a mean for each channel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoints.readers.base import MappedFile, open_mapped
from models.checkpoints.readers.caffe import read_blob
from models.checkpoints.readers.npy import is_npy, read_npy
from models.checkpoints.tensors import load_tensor
from models.errors import BadInputError, CheckpointError
from models.paths import require_file
from models.pooling import Sizes, format_size
from models.preprocessing.recipe import COLOURS, MeanFile, Preprocessing

MAX_BYTES = 1 << 28
"""The largest mean file that is read; the Sports-1M cube is 4 MB in float32."""


def load_mean(path: Path) -> tuple[NDArray[np.float32], MeanFile]:
    """Read a mean file: (3, time, height, width), float32, channels in the order the network sees them.

    A `.npy` may also be (time, height, width, 3), (3, height, width) or (height, width, 3), as origins store them, with
    or without a leading axis of 1; a `.binaryproto` is a BlobProto of C3D-v1.0 or of BVLC's Caffe. A mean of one frame
    has time 1.

    Raises:
        BadInputError: it cannot be read, or is no such mean.
    """
    try:
        if not 0 < (size := require_file(path, "mean file", BadInputError)) <= MAX_BYTES:
            raise BadInputError(f"{path}: not a mean file ({size} bytes)")
        with open_mapped(path) as file:
            array = _read(file)
            digest = hashlib.sha256(file.data).hexdigest()
    except OSError as error:
        raise BadInputError(f"cannot read the mean file {path}: {error.strerror}") from error
    except CheckpointError as error:
        raise BadInputError(f"not a mean file (.npy or Caffe's .binaryproto): {error}") from error
    if not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise BadInputError(f"{path}: a mean file with NaN or infinities")
    return _channels_first(array, path), MeanFile(path.name, digest, str(path))


def fit_mean(mean: NDArray[np.float32], preprocessing: Preprocessing, size: Sizes, path: Path) -> NDArray[np.float32]:
    """Return the part of a mean that is subtracted from a clip: (3, T, h, w), float32.

    A mean of the crop's size is taken as it is; one of the size that frames are resized to is cropped as they are.

    Args:
        mean: (3, time, height, width) as `load_mean` returned it.
        preprocessing: the profile.
        size: (T, h, w) of the clip.
        path: its file, for the message.

    Raises:
        BadInputError: it fits neither.
    """
    length, height, width = mean.shape[1:]
    frames = preprocessing.resize
    whole = None if isinstance(frames, int) else (frames[1], frames[0])
    if length not in (1, size[0]) or (height, width) not in (size[1:], whole):
        wanted = f"3x{format_size(size)}" + (f" or 3x{format_size((size[0], *whole))}" if whole else "")
        raise BadInputError(
            f"{path}: a mean of {format_size(mean.shape)} does not fit the profile {preprocessing.name}, whose clips "
            f"need {wanted}"
        )
    if (height, width) == whole:
        top, left = preprocessing.crop_offset(width, height, size[1:])
        mean = mean[:, :, top : top + size[1], left : left + size[2]]
    return np.ascontiguousarray(np.broadcast_to(mean, (COLOURS, *size)))


def _read(file: MappedFile) -> NDArray[Any]:
    """Return the array of a `.npy`, otherwise of a `.binaryproto`."""
    if not is_npy(file):
        return load_tensor(read_blob(file)).numpy()
    content = read_npy(file).tensors
    if len(content) != 1:
        raise CheckpointError(f"holds {len(content)} arrays, not one mean")
    return load_tensor(next(iter(content.values()))).numpy()


def _channels_first(array: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """Return (3, time, height, width), float32."""
    shape = array.shape
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3:
        array = array[:, np.newaxis] if array.shape[0] == COLOURS else array[np.newaxis]
    if array.ndim != 4 or COLOURS not in (array.shape[0], array.shape[3]) or 0 in array.shape:
        raise BadInputError(
            f"{path}: a mean of {format_size(shape) or 'one number'} is none of 3xTxHxW, TxHxWx3, 3xHxW and HxWx3"
        )
    if array.shape[0] != COLOURS:
        array = array.transpose(3, 0, 1, 2)
    return np.ascontiguousarray(array, dtype=np.float32)
