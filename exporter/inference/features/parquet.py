"""Features as a Parquet table with a row for each clip.

Each video is written to a part of its own, so that an interrupted run keeps what it has. When a run ends, `merge` makes
one file of the parts and of what was merged before. A row group holds rows of one video only, and videos are in the
order of their names: the file is the same whatever order they were computed in, by however many runs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from exporter.errors import OutputError, UnavailableError
from exporter.inference.features.record import VideoRecord
from exporter.inference.features.types import FeatureRow
from exporter.isolation.worker import native_call
from exporter.storage import display, open_input
from models.errors import install_command

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_BYTES = 8 << 20
"""Bytes of features in a row group, about: what a writer holds in memory."""
RECORD_KEY = b"c3d_export.features"
"""Schema metadata: how the features were made, as `features.json` has it."""
VIDEOS_KEY = b"c3d_export.videos"
"""Schema metadata: the videos in the file, a list of `StoredVideo`."""
COLUMN = "feature"
"""The column of the features of a single layer. Those of several are called after the layers; `feature_start` where a
layer is called like another column."""
SUFFIX = ".parquet"
DICTIONARY: Any = ["video"]
"""Columns with few different values; features gain nothing from a dictionary."""


@dataclass(frozen=True)
class StoredVideo:
    """A video in a Parquet file: its record, and the number of row groups that its rows are in."""

    record: VideoRecord
    groups: int


def require_pyarrow() -> None:
    """Refuse early where pyarrow is not installed.

    Raises:
        UnavailableError: it is not.
    """
    try:
        import pyarrow.parquet  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise UnavailableError(f"writing Parquet needs pyarrow; {install_command('parquet')}") from error


def make_schema(shapes: Mapping[str, tuple[int, ...]], record: bytes) -> pa.Schema:  # pyright: ignore[reportUnknownParameterType] - pyarrow has no types
    """Return the table's columns: `video`, the numbers of a clip, and the features, flattened.

    The shape of a row of each feature column is in the column's metadata under `shape`.

    Args:
        shapes: {layer: shape of a row}.
        record: JSON that states how the features were made.
    """
    import pyarrow as pa

    numbers = {"clip": pa.int32(), "first": pa.int64(), "last": pa.int64()}
    times = {"start": pa.float64(), "end": pa.float64(), "repeated": pa.int32()}
    columns = {"video": pa.string(), **numbers, **times}
    features = [
        pa.field(
            COLUMN if len(shapes) == 1 else f"{COLUMN}_{layer}" if layer in columns else layer,
            pa.list_(pa.float32(), prod(shape)),
            nullable=False,
            metadata={"layer": layer, "shape": json.dumps(shape)},
        )
        for layer, shape in shapes.items()
    ]
    plain = [pa.field(name, kind, nullable=False) for name, kind in columns.items()]
    return pa.schema([*plain, *features], metadata={RECORD_KEY: record})


class ParquetPart:
    """Writes the part of one video, `<name>.parquet`.

    Args:
        stage: the folder to write to.
        name: the video's name among the files.
        video: the video, as the table shows it.
        shapes: {layer: shape of a row}.
        record: JSON that states how the features were made.
    """

    def __init__(
        self, stage: Path, name: str, video: str, shapes: Mapping[str, tuple[int, ...]], record: bytes
    ) -> None:
        from pyarrow import parquet

        self._path, self._video, self._shapes = stage / f"{name}{SUFFIX}", video, shapes
        self._schema = make_schema(shapes, record)
        self._writer = parquet.ParquetWriter(self._path, self._schema, use_dictionary=DICTIONARY)
        self._rows: list[FeatureRow] = []
        self._groups = 0
        self._at_once = max(1, GROUP_BYTES // (4 * sum(prod(shape) for shape in shapes.values())))

    def append(self, row: FeatureRow) -> None:
        """Write the next row, with those before it once they fill a row group."""
        self._rows.append(row)
        if len(self._rows) == self._at_once:
            self._flush()

    def finish(self, record: VideoRecord) -> tuple[Path, ...]:
        """Complete the file, with the video's record."""
        if self._rows:
            self._flush()
        self._writer.add_key_value_metadata({VIDEOS_KEY: msgspec.json.encode([StoredVideo(record, self._groups)])})
        self._writer.close()
        return (self._path,)

    def close(self) -> None:
        """Close the file."""
        if self._writer.is_open:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        rows, self._rows = self._rows, []
        columns: dict[str, pa.Array] = {
            "video": pa.array([self._video] * len(rows), pa.string()),
            "clip": pa.array([row.index for row in rows], pa.int32()),
            "first": pa.array([row.first for row in rows], pa.int64()),
            "last": pa.array([row.last for row in rows], pa.int64()),
            "start": pa.array([row.start for row in rows], pa.float64()),
            "end": pa.array([row.end for row in rows], pa.float64()),
            "repeated": pa.array([row.repeated for row in rows], pa.int32()),
        }
        for field, (layer, shape) in zip(list(self._schema)[len(columns) :], self._shapes.items(), strict=True):
            values = np.stack([np.ravel(row.features[layer]) for row in rows]).astype(np.float32, copy=False)
            columns[field.name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), prod(shape))
        table = pa.Table.from_arrays(list(columns.values()), schema=self._schema)
        self._writer.write_table(table, row_group_size=len(rows))
        self._groups += 1


def read_videos(file: str) -> tuple[StoredVideo, ...]:
    """Return the videos in a part or in a merged file, in the order of their row groups.

    Raises:
        OutputError: it is no such file.
    """
    from pyarrow import ArrowInvalid, parquet

    try:
        with native_call("pyarrow", file), open_input(file, "table", OutputError) as stream:
            metadata = parquet.read_metadata(stream).metadata or {}
        return msgspec.json.decode(metadata[VIDEOS_KEY], type=tuple[StoredVideo, ...])
    except (OSError, ArrowInvalid, KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OutputError(
            f"{display(file)}: not a Parquet file with features that this tool wrote; remove it"
        ) from error


def merge(
    merged: Sequence[str], parts: Sequence[str], target: Path, record: bytes, without: Collection[str] = ()
) -> tuple[StoredVideo, ...]:
    """Write one file of the videos in several, in the order of their names. Memory holds one row group.

    Args:
        merged: the file that was merged before, if there is one; its videos that are also in a part are left out.
        parts: files of one video each, at least one if nothing was merged before.
        target: the file to write; it must not exist.
        record: JSON that states how the features were made.
        without: names of videos to leave out.

    Returns:
        The videos in it.

    Raises:
        OutputError: a source is no file with features.
        OSError: the disk is full, ….
    """
    from pyarrow import parquet

    places: dict[str, tuple[StoredVideo, str, int]] = {}
    for source in (*merged, *parts):
        group = 0
        for stored in read_videos(source):
            places[stored.record.name] = stored, source, group
            group += stored.groups
    ordered = [places[name] for name in sorted(places) if name not in without]
    videos = tuple(stored for stored, _, _ in ordered)
    with ExitStack() as stack:
        first_file = next(iter((*merged, *parts)))
        base = parquet.ParquetFile(stack.enter_context(open_input(first_file, "table", OutputError)))
        metadata = {RECORD_KEY: record, VIDEOS_KEY: msgspec.json.encode(videos)}
        schema = base.schema_arrow.with_metadata(metadata)
        writer = stack.enter_context(parquet.ParquetWriter(target, schema, use_dictionary=DICTIONARY))
        for stored, source, first in ordered:
            with ExitStack() as part:  # one at a time: there may be more of them than a process may open
                file = base
                if source != first_file:
                    file = parquet.ParquetFile(part.enter_context(open_input(source, "table", OutputError)))
                for group in range(first, first + stored.groups):
                    with native_call("pyarrow", source):
                        table = file.read_row_group(group).replace_schema_metadata(metadata)
                    writer.write_table(table, row_group_size=max(1, table.num_rows))
    return videos
