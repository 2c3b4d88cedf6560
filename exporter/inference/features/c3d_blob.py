"""Features in the binary format of Facebook's C3D, for the MATLAB and Python scripts that read it.

A file holds one clip: five int32 (num, channels, length, height, width), then their product of float32, all in
little-endian byte order (facebookarchive/C3D, `tools/extract_image_features.cpp`, which writes each clip with num 1,
and `script/read_binary_blob.m`). The features of fc6 have 4096 channels and take 16,404 bytes.

A clip's file is called after its first frame and the blob: `000016.fc6-1`. Frames of a video count from 0 and those of
a folder of images from 1, as in C3D's user guide and its example lists (`output_list_video_prefix.txt`,
`output_list_prefix.txt`). Clips that begin at the same frame are the same clip, and one file. Aggregated rows are
called after their position instead: `000000.fc6-1` to `000031.fc6-1` for segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.errors import UsageError
from exporter.inference.features.clip_table import ClipTable
from exporter.inference.features.record import VideoRecord
from exporter.inference.features.types import FeatureRow

AXES = 4
"""Axes of a blob after num: channels, length, height, width."""


def check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse layers that do not fit the format.

    Raises:
        UsageError: one has other than one to four axes.
    """
    for layer, shape in shapes.items():
        if not 1 <= len(shape) <= AXES:
            raise UsageError(f"--format c3d: {layer} has the shape {shape}; the format holds one to {AXES} axes")


def encode_blob(values: NDArray[np.float32]) -> bytes:
    """Return one clip's features as the content of a file.

    Args:
        values: (channels,), or (channels, length, height, width) with any of the last axes left out.
    """
    if not 1 <= values.ndim <= AXES:
        raise ValueError(f"features of shape {values.shape} do not fit a blob of {AXES} axes")
    shape = (1, *values.shape, *(1,) * (AXES - values.ndim))
    return np.asarray(shape, "<i4").tobytes() + np.ascontiguousarray(values, "<f4").tobytes()


class BlobWriter:
    """Writes a folder `<name>` with a file for each clip and layer, and `<name>.csv`.

    Args:
        stage: the folder to write to.
        name: the video's name among the files.
        blobs: {layer: the blob's name in file names}.
        first_frame: the number of the video's first frame: 0, or 1 for a folder of images; None to call files after
            the position of their row.
    """

    def __init__(self, stage: Path, name: str, blobs: Mapping[str, str], first_frame: int | None = 0) -> None:
        self._folder, self._blobs, self._first = stage / name, dict(blobs), first_frame
        self._folder.mkdir()
        self._table = ClipTable(stage, name)

    def append(self, row: FeatureRow) -> None:
        """Write the files of the next clip."""
        number = row.index if self._first is None else row.first + self._first
        for layer, blob in self._blobs.items():
            (self._folder / f"{number:06d}.{blob}").write_bytes(encode_blob(row.features[layer]))
        self._table.append(row)

    def finish(self, record: VideoRecord) -> tuple[Path, ...]:
        """Complete the files; the folder comes last."""
        return self._table.finish(), self._folder

    def close(self) -> None:
        """Close the files."""
        self._table.close()
