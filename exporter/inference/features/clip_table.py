"""The table beside feature arrays: the frames and the time of each row."""

from __future__ import annotations

import csv
from pathlib import Path

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

    def finish(self) -> Path:
        """Close the file and return its path."""
        self._stream.close()
        return self.path

    def close(self) -> None:
        """Close the file as it is."""
        self._stream.close()
