"""Where the videos that are complete are kept: as files of their own, or in one table."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from exporter.artifacts.store import atomic_replace
from exporter.errors import OutputError
from exporter.inference.features import parquet
from exporter.inference.features.record import FeatureRecord, VideoRecord, from_json, to_json
from exporter.storage import translate_os_errors

RUN = ".run"
RECORDS = f"{RUN}/videos"
PARTS = f"{RUN}/parts"
TABLE = "features.parquet"


class VideoStore(Protocol):
    """The videos of a feature folder that are complete."""

    def read(self) -> dict[str, VideoRecord]:
        """Return {name: record} of them.

        Raises:
            OutputError: something in the folder is not what this tool writes.
        """
        ...

    def publish(self, record: VideoRecord, staged: Sequence[Path]) -> VideoRecord:
        """Make a video complete: move its files from a staging folder into place, and return its record.

        Raises:
            OutputError: the folder cannot be written to, or is full.
        """
        ...

    def discard(self, name: str) -> None:
        """Remove a video, if it is there.

        Raises:
            OutputError: the folder cannot be written to.
        """
        ...

    def finish(self, record: FeatureRecord, stage: Path) -> tuple[str, ...]:
        """Bring the folder into the form in which it is used, and return the names of files that did not exist before.

        Raises:
            OutputError: the folder cannot be written to, or is full.
        """
        ...

    def clear(self) -> None:
        """Remove all videos.

        Raises:
            OutputError: the folder cannot be written to.
        """
        ...


def open_store(folder: Path, record: FeatureRecord) -> VideoStore:
    """Return the store of a folder with features of a format."""
    return TableStore(folder) if record.format == "parquet" else FileStore(folder)


class FileStore:
    """Videos with files of their own, and a record for each in `.run/videos`.

    The record states the files and their sizes, and is published before them: a video is complete when all are there.
    A run that is killed in between thus leaves no file that no record names.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._records = folder, folder / RECORDS

    def read(self) -> dict[str, VideoRecord]:
        """See `VideoStore`."""
        return {name: record for name, record in self._read_all().items() if self._is_complete(record)}

    def publish(self, record: VideoRecord, staged: Sequence[Path]) -> VideoRecord:
        """See `VideoStore`."""
        self.discard(record.name)
        for path in staged:
            if (self._folder / path.name).exists():
                raise OutputError(
                    f"{self._folder / path.name} is there and was not written by this tool; remove it, or choose "
                    "another --output"
                )
        sizes = {path.name: _size(path) for path in staged}
        record = replace(record, files=sizes)
        stage = staged[0].parent / f"{record.name}.record"
        with translate_os_errors(self._folder):
            self._records.mkdir(parents=True, exist_ok=True)
            stage.write_bytes(to_json(record))
        atomic_replace(stage, self._path(record.name))
        for path in staged:
            atomic_replace(path, self._folder / path.name)
        return record

    def discard(self, name: str) -> None:
        """See `VideoStore`."""
        path = self._path(name)
        with translate_os_errors(self._folder):
            if path.is_file():
                self._remove_files(from_json(path.read_bytes(), VideoRecord, str(path)))
                path.unlink()

    def finish(self, record: FeatureRecord, stage: Path) -> tuple[str, ...]:
        """See `VideoStore`."""
        return ()

    def clear(self) -> None:
        """See `VideoStore`."""
        for name in self._read_all():
            self.discard(name)

    def _path(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _read_all(self) -> dict[str, VideoRecord]:
        with translate_os_errors(self._folder):
            paths = sorted(self._records.glob("*.json"))
            records = [from_json(path.read_bytes(), VideoRecord, str(path)) for path in paths]
        return {record.name: record for record in records}

    def _is_complete(self, record: VideoRecord) -> bool:
        with suppress(OSError):
            return all(_size(self._folder / name) == size for name, size in record.files.items())
        return False

    def _remove_files(self, record: VideoRecord) -> None:
        for name in record.files:
            path = self._folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class TableStore:
    """Videos in one Parquet file, which a run makes at its end of the parts in `.run/parts` and of the file before."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._parts, self._table = folder, folder / PARTS, folder / TABLE
        self._dropped: set[str] = set()

    def read(self) -> dict[str, VideoRecord]:
        """See `VideoStore`."""
        files = [*([self._table] if self._table.is_file() else []), *self._part_files()]
        videos = [stored for file in files for stored in parquet.read_videos(file)]
        return {stored.record.name: stored.record for stored in videos}

    def publish(self, record: VideoRecord, staged: Sequence[Path]) -> VideoRecord:
        """See `VideoStore`."""
        with translate_os_errors(self._folder):
            self._parts.mkdir(parents=True, exist_ok=True)
        for path in staged:
            atomic_replace(path, self._parts / path.name)
        self._dropped.discard(record.name)
        return record

    def discard(self, name: str) -> None:
        """See `VideoStore`. Rows in the table itself are left out when it is made again."""
        with translate_os_errors(self._folder):
            (self._parts / f"{name}{parquet.SUFFIX}").unlink(missing_ok=True)
        self._dropped.add(name)

    def finish(self, record: FeatureRecord, stage: Path) -> tuple[str, ...]:
        """See `VideoStore`."""
        parts = self._part_files()
        merged = self._table if self._table.is_file() else None
        stale = self._dropped & ({stored.record.name for stored in parquet.read_videos(merged)} if merged else set())
        if parts or stale:
            with translate_os_errors(self._folder):
                parquet.merge(merged, parts, stage / TABLE, to_json(record), self._dropped)
            atomic_replace(stage / TABLE, self._table)
            with translate_os_errors(self._folder):
                for part in parts:
                    part.unlink()
        return (TABLE,) if parts or stale else ()

    def clear(self) -> None:
        """See `VideoStore`."""
        with translate_os_errors(self._folder):
            for file in (*self._part_files(), self._table):
                file.unlink(missing_ok=True)

    def _part_files(self) -> list[Path]:
        return sorted(self._parts.glob(f"*{parquet.SUFFIX}"))


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder.

    Raises:
        OSError: it is not there.
    """
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
