"""A power failure at any moment of a run: the next run leaves the same files as one that was never interrupted."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from helpers.features import files, items, stored_as
from helpers.power_loss import crash_states, record
from helpers.publications import after_restart

from exporter.inference.features.folder import open_folder
from exporter.inference.features.stores import open_store
from exporter.inference.features.writing import write_videos
from exporter.video.sources import Source

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at files through /proc"),
]


def run(folder: Path, videos: list[Path], *, done: bool = True) -> None:
    """Write what is not done yet; for other videos of the same names when `done` is false."""
    with open_folder(folder, stored_as(folder.parent.name), overwrite=not done) as opened:
        jobs = opened.plan([Source(str(path), str(path)) for path in videos], overwrite=not done)
        todo = [job for job in jobs if job.done is None]
        numbers = [videos.index(Path(job.video)) for job in todo]
        list(write_videos(items([2] * len(todo), videos=numbers), todo, opened))
        opened.finish()


def select(found: dict[str, bytes], names: Iterable[str]) -> dict[str, bytes]:
    """Return what belongs to files and folders of these names."""
    return {path: content for path, content in found.items() if Path(path).parts[0] in {*names}}


@pytest.mark.parametrize("kind", ["npy", "c3d", "parquet"])
@pytest.mark.parametrize("again", [False, True], ids=["new", "overwritten"])
def test_the_next_run_completes_the_folder(kind: str, again: bool, tmp_path: Path) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'c3d-export[parquet]'")
    videos = [tmp_path / name for name in ("v0.mp4", "v1.mp4")]
    for video in videos:
        video.touch()
    whole, disk, copy = (tmp_path / name / kind / "out" for name in ("whole", "disk", "copy"))
    for folder in (whole, disk):
        folder.parent.mkdir(parents=True)
    run(whole, videos)
    if again:
        run(disk, videos)
    with record(disk.parent) as recorder:
        run(disk, videos, done=not again)
    assert files(disk) == files(whole)
    count = 0
    for crash in crash_states(recorder, at_once=4):
        count += 1
        copy.parent.mkdir(parents=True)
        crash.write(recorder.root_number, copy.parent)
        with after_restart():
            if copy.exists():
                for video in open_store(str(copy), stored_as(kind)).read().values():
                    where = f"{video.name} is complete after {crash.after} events and {crash.kept}, data {crash.data}"
                    assert select(files(copy), video.files) == select(files(whole), video.files), where
            run(copy, videos)
        assert files(copy) == files(whole), f"after {crash.after} events, kept {crash.kept}, data {crash.data}"
        shutil.rmtree(copy.parent)
    assert count > 20
