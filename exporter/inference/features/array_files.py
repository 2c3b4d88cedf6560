"""Features in files of each video's own, with a CSV table of the rows: NumPy arrays, or the files of Facebook's C3D.

A file of C3D holds one clip: five int32 (num, channels, length, height, width), then their product of float32, all in
little-endian byte order (facebookarchive/C3D, `tools/extract_image_features.cpp`, which writes each clip with num 1,
and `script/read_binary_blob.m`). The features of fc6 have 4096 channels and take 16,404 bytes.

A clip's file is called after its first frame and the blob: `000016.fc6-1`. Frames of a video count from 0 and those of
a folder of images from 1, as in C3D's user guide and its example lists (`output_list_video_prefix.txt`,
`output_list_prefix.txt`). Clips that begin at the same frame are the same clip, and one file. Aggregated rows are
called after their position instead: `000000.fc6-1` to `000031.fc6-1` for segments.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from exporter.errors import UsageError
from exporter.inference.features.names import plain_name
from exporter.inference.features.record import VideoRecord
from exporter.inference.features.types import FeatureRow

COLUMNS = ("clip", "first", "last", "start", "end", "repeated")


class ClipTable:
    """`<name>.csv`, a line for each row; times have six decimals.

    Args:
        stage: the folder to write to.
        name: the video's name among the files.
    """

    def __init__(self, stage: Path, name: str) -> None:
        self.path = stage / f"{name}.csv"
        self._stream = self.path.open("x", encoding="utf-8", newline="")
        self._lines = csv.writer(self._stream, lineterminator="\n")
        self._lines.writerow(COLUMNS)

    def append(self, row: FeatureRow) -> None:
        """Write the next row's line."""
        self._lines.writerow((row.index, row.first, row.last, f"{row.start:.6f}", f"{row.end:.6f}", row.repeated))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


SUFFIX = ".npy"


class NpyFile:
    """An `.npy` file, float32, that grows row by row: its header is rewritten at the end with the number of rows.

    NumPy pads the header for that, so that it does not change its length as the first axis grows.

    Args:
        path: the file; it must not exist.
        shape: of one row.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self._shape, self._rows = path, shape, 0
        self._stream: BinaryIO = path.open("xb")
        self._header = self._write_header()

    def append(self, values: np.typing.NDArray[np.float32]) -> None:
        """Write the next row."""
        if values.shape != self._shape:
            raise ValueError(f"a row of shape {values.shape} among rows of {self._shape}")
        self._stream.write(np.ascontiguousarray(values, "<f4").tobytes())
        self._rows += 1

    def finish(self) -> None:
        """Write the number of rows, and close the file."""
        self._stream.seek(0)
        if self._write_header() != self._header:
            raise ValueError(f"{self._rows} rows of {self._shape} do not fit the header")
        self._stream.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._stream.close()

    def _write_header(self) -> int:
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._stream, header)
        return self._stream.tell()


class NpyWriter:
    """Writes a video's arrays and its clip table.

    `<name>.npy` for one layer, `<name>.<layer>.npy` for several, and `<name>.csv`.

    Args:
        stage: the folder to write to.
        name: the video's name among the files.
        shapes: {layer: shape of a row}.
    """

    def __init__(self, stage: Path, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        names = {
            layer: f"{name}.{plain_name(layer)}{SUFFIX}" if len(shapes) > 1 else f"{name}{SUFFIX}" for layer in shapes
        }
        self._arrays = {layer: NpyFile(stage / names[layer], shape) for layer, shape in shapes.items()}
        self._table = ClipTable(stage, name)

    def append(self, row: FeatureRow) -> None:
        """Write the next row to each array."""
        for layer, array in self._arrays.items():
            array.append(row.features[layer])
        self._table.append(row)

    def finish(self, record: VideoRecord) -> tuple[Path, ...]:
        """Complete the files; the arrays come last."""
        for array in self._arrays.values():
            array.finish()
        self._table.close()
        return self._table.path, *(array.path for array in self._arrays.values())

    def close(self) -> None:
        """Close the files."""
        self._table.close()
        for array in self._arrays.values():
            array.close()


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
        self._table.close()
        return self._table.path, self._folder

    def close(self) -> None:
        """Close the files."""
        self._table.close()
