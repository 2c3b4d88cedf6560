"""A folder of features: one run writes to it at a time, and each continues what the ones before it have done.

    features.json           how the features were made
    bikes.npy, bikes.csv    a video's features (`npy`), or
    bikes/, bikes.csv       … (`c3d`), or
    features.parquet        those of all videos (`parquet`)
    .run/videos/bikes.json  which files bikes has (`npy`, `c3d`)
    .run/parts/             parts of the table that are not merged yet (`parquet`)
    .run/lock               held by the run that writes

Every file is written in a staging folder and renamed into place (`exporter.artifacts.store`): it is there completely or
not at all. The folder may be a URL (`exporter.storage`), which has no lock and no renaming of folders: files are
uploaded, and each appears complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from exporter.artifacts.store import staging
from exporter.errors import OutputError, UsageError
from exporter.inference.features.names import choose_names
from exporter.inference.features.record import FeatureRecord, VideoRecord, from_json, to_json
from exporter.inference.features.stores import RUN, TableStore, VideoStore, open_store
from exporter.output_targets import check_output_folder
from exporter.storage import (
    display,
    exists,
    is_url,
    join,
    local_path,
    publish_file,
    read_bytes,
    translate_os_errors,
)
from exporter.temporary_folders import temporary_folder
from exporter.video.sources import Source
from models.paths import acquire_lock, make_folders, to_utf8

RECORD = "features.json"
LOCK = f"{RUN}/lock"


@dataclass(frozen=True)
class Job:
    """A video of a run.

    Attributes:
        source: the video.
        video: where it is: an absolute path, or a URL, in UTF-8.
        name: its name among the files.
        bytes: its size, or that of its images; None where that is not known.
        modified_ns: when it was last changed, in nanoseconds since 1970; None where that is not known.
        done: its record, if an earlier run has completed it and it has not changed since.
    """

    source: Source
    video: str
    name: str
    bytes: int | None
    modified_ns: int | None
    done: VideoRecord | None


@dataclass(frozen=True)
class FeatureFolder:
    """An output folder that this run writes to.

    Attributes:
        path: the folder, a path or URL.
        stage: a local folder for files that are not complete.
        record: how the features are made.
        store: the videos that are complete.
    """

    path: str
    stage: Path
    record: FeatureRecord
    store: VideoStore

    @property
    def disk(self) -> Path:
        """The local folder that fills up: the folder itself, or that of temporary files."""
        return local_path(self.path) or self.stage

    def plan(self, sources: Sequence[Source], *, overwrite: bool = False) -> list[Job]:
        """Return a job for each video; one that is named twice has one job.

        Args:
            sources: the videos.
            overwrite: compute again what is there.

        Raises:
            OutputError: something in the folder is not what this tool writes.
        """
        records = self.store.read()
        places = {_identify(source): source for source in sources}
        names = choose_names(list(places), {record.video: record.name for record in records.values()})
        jobs: list[Job] = []
        for video, source in places.items():
            size, modified = _stat(source)
            record = None if overwrite else records.get(names[video])
            if record and (record.video, record.bytes, record.modified_ns) != (video, size, modified):
                record = None
            jobs.append(Job(source, video, names[video], size, modified, record))
        return jobs

    def finish(self, without: Collection[str] = ()) -> tuple[str, ...]:
        """Prepare the folder for use, and return the names of files that were written for it.

        Args:
            without: names of videos that have no features now, whatever an earlier run found.

        Raises:
            OutputError: the folder cannot be written to, or is full.
        """
        return self.store.finish(self.record, self.stage, without) if isinstance(self.store, TableStore) else ()


@contextmanager
def open_folder(path: str | Path, record: FeatureRecord, *, overwrite: bool = False) -> Generator[FeatureFolder]:
    """Create an output folder, or continue one whose features were made in the same way.

    Args:
        path: the folder, a path or URL.
        record: how the features are made.
        overwrite: replace features that were made in another way.

    Raises:
        UsageError: the folder has features that were made in another way.
        OutputError: another run writes to it, it cannot be written to, or its record cannot be read.
    """
    folder = str(path)
    check_output_folder(folder, "--output")
    if (local := local_path(folder)) is not None:
        with translate_os_errors(local):
            make_folders(local)
    with _locked(folder):
        file = join(folder, RECORD)
        old = from_json(read_bytes(file, error=OutputError), FeatureRecord, display(file)) if exists(file) else None
        if old is not None and (differences := old.differences(record)):
            if not overwrite and open_store(folder, old).read():
                raise UsageError(
                    f"{display(folder)} has features that were made in another way: {'; '.join(differences)}; "
                    "--overwrite replaces them, another --output keeps them"
                )
            open_store(folder, old).clear()
            old = None
        with _staging(folder) as stage:
            opened = FeatureFolder(folder, stage, old or record, open_store(folder, record))
            if old is None:
                with translate_os_errors(opened.disk):
                    (stage / RECORD).write_bytes(to_json(record))
                publish_file(stage / RECORD, file)
            yield opened


@contextmanager
def _staging(path: str) -> Generator[Path]:
    """Yield a local folder for files that are not complete: in the output folder, or a temporary one for a URL."""
    local = local_path(path)
    if local is not None:
        with staging(local) as stage:
            yield stage
    else:
        with temporary_folder() as stage:
            yield stage


@contextmanager
def _locked(path: str) -> Generator[None]:
    """Hold the folder's lock, where the file system has locks."""
    folder = local_path(path)
    with ExitStack() as stack:
        try:
            if folder is not None:
                with translate_os_errors(folder):
                    (folder / RUN).mkdir(exist_ok=True)
                stack.enter_context(acquire_lock(folder / LOCK, timeout=0))
        except Timeout:
            raise OutputError(
                f"another run is writing to {path}; wait until it has ended, or choose another --output"
            ) from None
        except (OSError, NotImplementedError):
            pass
        yield


def _identify(source: Source) -> str:
    """Return an absolute path, or a URL in which a hash stands for what may be secret; in UTF-8.

    The query of a URL may choose the video: addresses that differ in it alone are two videos.
    """
    if source.kind == "camera":
        return source.url
    if is_url(source.url):
        shown = display(source.url)
        digits = hashlib.sha256(source.url.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return shown if shown == source.url else f"{shown}?sha256={digits}"
    return to_utf8(str(Path(source.url).absolute()))


def _stat(source: Source) -> tuple[int | None, int | None]:
    """Return a local video's size and time of change, or (None, None) for another."""
    if source.kind == "camera" or is_url(source.url):
        return None, None
    try:
        stats = [Path(file).stat() for file in source.images or (source.url,)]
    except (OSError, ValueError):  # it is reported when it is opened
        return None, None
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)
