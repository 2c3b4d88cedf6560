"""Features as NumPy arrays: for each video an array (rows, …) and a CSV table with the frames and times of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from exporter.inference.features.clip_table import ClipTable
from exporter.inference.features.names import plain_name
from exporter.inference.features.record import VideoRecord
from exporter.inference.features.types import FeatureRow

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
        return self._table.finish(), *(array.path for array in self._arrays.values())

    def close(self) -> None:
        """Close the files."""
        self._table.close()
        for array in self._arrays.values():
            array.close()
