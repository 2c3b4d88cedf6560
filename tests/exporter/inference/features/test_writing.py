"""From outputs clip by clip to complete files, in every format, and what happens when a video ends with an error."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.features import RECORD, files, items, jobs, rows, stored_as

from exporter.errors import BadInputError, CheckFailedError, OutputError
from exporter.inference.features import array_files, parquet
from exporter.inference.features.folder import open_folder
from exporter.inference.features.record import FeatureRecord
from exporter.inference.features.types import VideoFeatureFiles
from exporter.inference.features.writing import write_videos
from exporter.inference.predictions import VideoFailure


def write(
    folder: Path, record: FeatureRecord, clips: list[int], errors: dict[int, Any] | None = None
) -> list[VideoFeatureFiles | VideoFailure]:
    with open_folder(folder, record) as opened:
        every = jobs(len(clips))
        done = list(write_videos(items(clips, errors), every, opened))
        opened.finish({job.name for job, video in zip(every, done, strict=True) if isinstance(video, VideoFailure)})
    return done


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("npy", ["v0.csv", "v0.npy", "v1.csv", "v1.npy"]),
        ("c3d", ["v0.csv", "v0/000000.fc6-1", "v0/000008.fc6-1", "v1.csv", "v1/000000.fc6-1"]),
        ("parquet", ["features.parquet"]),
    ],
)
def test_every_format_holds_the_features_of_every_clip(kind: str, names: list[str], tmp_path: Path) -> None:
    done = write(tmp_path, stored_as(kind), [2, 1])
    assert sorted(files(tmp_path)) == sorted([*names, "features.json"])
    assert [isinstance(video, VideoFeatureFiles) and video.rows for video in done] == [2, 1]
    expected = [row.features["fc6"] for number, count in enumerate([2, 1]) for row in rows(count, video=number)]
    if kind == "npy":
        found = np.concatenate([np.load(tmp_path / "v0.npy"), np.load(tmp_path / "v1.npy")])
    elif kind == "parquet":
        found = np.array(pq.read_table(tmp_path / "features.parquet")["feature"].to_pylist(), np.float32)
    else:
        paths = [tmp_path / name for name in names if not name.endswith(".csv")]
        found = np.stack([np.frombuffer(path.read_bytes()[20:], "<f4") for path in paths])
    np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize("kind", ["npy", "c3d", "parquet"])
def test_a_video_that_breaks_leaves_nothing_and_the_others_are_done(kind: str, tmp_path: Path) -> None:
    broken, nan = BadInputError("v1.mp4: truncated"), CheckFailedError("v2.mp4: NaN")
    done = write(tmp_path, stored_as(kind), [2, 3, 1, 2], {1: broken, 2: nan})
    failures = [video for video in done if isinstance(video, VideoFailure)]
    assert failures == [VideoFailure("v1.mp4", str(broken), 3), VideoFailure("v2.mp4", str(nan), 1)]
    left = files(tmp_path)
    assert not [name for name in left if name.startswith(("v1", "v2"))]
    if kind == "parquet":
        assert set(pq.read_table(tmp_path / "features.parquet")["video"].to_pylist()) == {"v0.mp4", "v3.mp4"}


@pytest.mark.parametrize("kind", ["npy", "c3d", "parquet"])
def test_a_video_that_breaks_now_loses_its_earlier_features(kind: str, tmp_path: Path) -> None:
    write(tmp_path, stored_as(kind), [2, 3])
    write(tmp_path, stored_as(kind), [2, 3], {1: BadInputError("v1.mp4: truncated")})
    if kind == "parquet":
        assert set(pq.read_table(tmp_path / "features.parquet")["video"].to_pylist()) == {"v0.mp4"}
    else:
        assert not [name for name in files(tmp_path) if name.startswith("v1")]


def test_a_video_without_clips_is_no_error_and_has_no_files(tmp_path: Path) -> None:
    for how in ("clips", "mean", "segments"):
        record = replace(RECORD, aggregate=how)
        done = write(tmp_path / how, record, [0, 2])
        assert done[0] == VideoFeatureFiles("v0.mp4", "v0", 0, 0, (), kept=False, notes=())
        assert sorted(files(tmp_path / how)) == ["features.json", "v1.csv", "v1.npy"]


def test_aggregated_features_are_written_in_every_format(tmp_path: Path) -> None:
    mean = np.mean([row.features["fc6"] for row in rows(40)], axis=0, dtype=np.float64)
    for kind in ("npy", "c3d", "parquet"):
        write(tmp_path / kind, replace(stored_as(kind), aggregate="mean"), [40])
        write(tmp_path / f"{kind}32", replace(stored_as(kind), aggregate="segments"), [40])
    (found,) = np.load(tmp_path / "npy" / "v0.npy")
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)
    assert np.load(tmp_path / "npy32" / "v0.npy").shape == (32, 6)
    assert len(list((tmp_path / "c3d32" / "v0").iterdir())) == 32
    assert pq.read_table(tmp_path / "parquet32" / "features.parquet").num_rows == 32


@pytest.mark.parametrize("kind", ["npy", "c3d", "parquet"])
@pytest.mark.parametrize("when", [1, 3])
def test_a_full_disk_leaves_the_complete_videos_and_nothing_else(
    kind: str, when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = {"npy": array_files.NpyWriter, "c3d": array_files.BlobWriter, "parquet": parquet.ParquetPart}[kind]
    append, calls = writer.append, iter(range(100))

    def full(self: Any, row: Any) -> None:
        if next(calls) == when:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, row)

    monkeypatch.setattr(writer, "append", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(tmp_path, stored_as(kind), [2, 2])
    assert not list(tmp_path.glob(".c3d-export-*"))
    left = [name for name in files(tmp_path) if name != "features.json"]
    assert not [name for name in left if name.startswith("v1")]
    monkeypatch.undo()
    write(tmp_path, stored_as(kind), [2, 2])
    write(tmp_path / "whole", stored_as(kind), [2, 2])
    whole = files(tmp_path / "whole")
    assert {name: content for name, content in files(tmp_path).items() if not name.startswith("whole")} == whole


def test_files_of_the_user_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "v0").mkdir()
    (tmp_path / "v0" / "frame.jpg").write_bytes(b"jpg")
    with pytest.raises(OutputError, match="not written by this tool"):
        write(tmp_path, stored_as("c3d"), [1])
    assert (tmp_path / "v0" / "frame.jpg").read_bytes() == b"jpg"
    (tmp_path / "features.parquet").write_bytes(b"other")
    with pytest.raises(OutputError, match="features.parquet"):
        write(tmp_path, stored_as("parquet"), [1])


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    """Memory stays bounded for a video of any length: nothing is kept of the clips before."""
    import tracemalloc

    record = replace(RECORD, layers={"fc6": (4096,)})
    (row,) = rows(1, shape=(4096,))
    (end,) = (item for item in items([0]))
    clips = (next(items([1])) for _ in range(3000))

    def many() -> Iterator[Any]:
        for number, clip in enumerate(clips):
            yield replace(clip, index=number, outputs=row.features)  # pyright: ignore[reportArgumentType, reportCallIssue]
        yield replace(end, clips=3000)

    with open_folder(tmp_path, record) as opened:
        tracemalloc.start()
        (done,) = write_videos(many(), jobs(1), opened)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(done, VideoFeatureFiles)
    assert np.load(tmp_path / "v0.npy", mmap_mode="r").shape == (3000, 4096)  # 49 MB
    assert peak < 4 << 20
