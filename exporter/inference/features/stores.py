"""Where the videos that are complete are kept: as files of their own, or in one table. A folder is a path or a URL."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from exporter.errors import OutputError
from exporter.inference.features import parquet
from exporter.inference.features.record import FeatureRecord, VideoRecord, from_json, to_json
from exporter.storage import (
    display,
    exists,
    file_name,
    is_folder,
    is_url,
    join,
    list_files,
    local_path,
    publish_file,
    read_bytes,
    remove,
    translate_os_errors,
)
from models.paths import fsync

RUN = ".run"
RECORDS = f"{RUN}/videos"
PARTS = f"{RUN}/parts"
TABLE = "features.parquet"
READERS = 16
"""Records that are fetched from a URL at the same time: each takes a round trip."""


class FileStore:
    """Videos with files of their own, and a record for each in `.run/videos`.

    The record is written before the files, with their names, and again after them, as complete. A run that is killed
    in between thus leaves no file that no record names.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._records = folder, join(folder, RECORDS)

    def read(self) -> dict[str, VideoRecord]:
        """Return {name: record} of the videos that are complete.

        Raises:
            OutputError: something in the folder is not what this tool writes.
        """
        return {record.name: record for record in self._read_all() if self._is_complete(record)}

    def publish(self, record: VideoRecord, staged: Sequence[Path]) -> VideoRecord:
        """Make a video complete: move its files from a staging folder into place, and return its record.

        Raises:
            OutputError: the folder cannot be written to, or is full.
        """
        self.discard(record.name)
        for path in staged:
            place = join(self._folder, path.name)
            if exists(place):
                raise OutputError(
                    f"{display(place)} is there and was not written by this tool; remove it, or choose another --output"
                )
        stage = staged[0].parent
        record = replace(record, files={path.name: _size(path) for path in staged})
        self._write(replace(record, complete=False), stage)
        for path in staged:
            self._move(path)
        self._write(record, stage)
        return record

    def discard(self, name: str) -> None:
        """Remove a video, if it is there.

        Raises:
            OutputError: the folder cannot be written to.
        """
        path = self._path(name)
        if not exists(path):
            return
        for file in from_json(read_bytes(path, error=OutputError), VideoRecord, display(path)).files:
            self._remove(join(self._folder, file))
        if (folder := local_path(self._folder)) is not None:
            with translate_os_errors(folder):
                fsync(folder)  # a file without a record would be one that this tool has not written
        remove(path)

    def clear(self) -> None:
        """Remove all videos.

        Raises:
            OutputError: the folder cannot be written to.
        """
        for record in self._read_all():
            self.discard(record.name)

    def _write(self, record: VideoRecord, stage: Path) -> None:
        path = stage / ".record"  # no video is called so
        with translate_os_errors(local_path(self._folder) or stage):
            path.write_bytes(to_json(record))
        publish_file(path, self._path(record.name))

    def _path(self, name: str) -> str:
        return join(self._records, f"{name}.json")

    def _read_all(self) -> list[VideoRecord]:
        paths = list_files(self._records) if exists(self._records) else []
        with ThreadPoolExecutor(READERS if is_url(self._folder) else 1) as pool:
            contents = pool.map(lambda path: read_bytes(path, error=OutputError), paths)
            return [
                from_json(content, VideoRecord, display(path)) for path, content in zip(paths, contents, strict=True)
            ]

    def _is_complete(self, record: VideoRecord) -> bool:
        """Return whether a record says so, and on this machine also whether the files are still there."""
        folder = local_path(self._folder)
        if folder is None or not record.complete:
            return record.complete
        with suppress(OSError):
            return all(_size(folder / name) == size for name, size in record.files.items())
        return False

    def _move(self, staged: Path) -> None:
        """Move a finished file, or a folder of files, into the folder."""
        place = join(self._folder, staged.name)
        if is_url(place) and staged.is_dir():
            for file in sorted(staged.iterdir()):
                publish_file(file, join(place, file.name))
        else:
            publish_file(staged, place)

    def _remove(self, place: str) -> None:
        path = local_path(place)
        if path is not None and path.is_dir():
            with translate_os_errors(path.parent):
                shutil.rmtree(path)
        elif path is None and is_folder(place):
            for file in list_files(place):
                remove(file)
        else:
            remove(place)


class TableStore:
    """Videos in one Parquet file, which a run makes at its end of the parts in `.run/parts` and of the file before."""

    def __init__(self, folder: str) -> None:
        self._folder, self._parts, self._table = folder, join(folder, PARTS), join(folder, TABLE)

    def read(self) -> dict[str, VideoRecord]:
        """See `FileStore`."""
        videos = [stored for file in (*self._merged(), *self._part_files()) for stored in parquet.read_videos(file)]
        return {stored.record.name: stored.record for stored in videos}

    def publish(self, record: VideoRecord, staged: Sequence[Path]) -> VideoRecord:
        """See `FileStore`."""
        for path in staged:
            publish_file(path, join(self._parts, path.name))
        return record

    def discard(self, name: str) -> None:
        """See `FileStore`. Rows in the table itself are left out when it is made again: see `finish`."""
        remove(join(self._parts, f"{name}{parquet.SUFFIX}"))

    def finish(self, record: FeatureRecord, stage: Path, without: Collection[str]) -> tuple[str, ...]:
        """Make the table again where there are new parts, or videos in it that are not to be; return its name if so.

        Args:
            record: how the features were made.
            stage: a local folder to write to.
            without: names of videos that are not to be in it.

        Raises:
            OutputError: the folder cannot be written to, or is full.
        """
        parts, merged = self._part_files(), self._merged()
        stale = {stored.record.name for file in merged for stored in parquet.read_videos(file)} & set(without)
        if not parts and not stale:
            return ()
        with translate_os_errors(local_path(self._folder) or stage):
            parquet.merge(merged, parts, stage / TABLE, to_json(record), without)
        publish_file(stage / TABLE, self._table)
        for part in parts:
            remove(part)
        return (TABLE,)

    def clear(self) -> None:
        """See `FileStore`."""
        for file in (*self._part_files(), *self._merged()):
            remove(file)

    def _merged(self) -> list[str]:
        return [self._table] if exists(self._table) else []

    def _part_files(self) -> list[str]:
        found = list_files(self._parts) if exists(self._parts) else []
        return [file for file in found if file_name(file).endswith(parquet.SUFFIX)]


VideoStore = FileStore | TableStore
"""The videos of a feature folder that are complete."""


def open_store(folder: str, record: FeatureRecord) -> VideoStore:
    """Return the store of a folder with features of a format."""
    return TableStore(folder) if record.format == "parquet" else FileStore(folder)


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder.

    Raises:
        OSError: it is not there.
    """
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
