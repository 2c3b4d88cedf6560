"""Parquet parts and the table that is merged of them, read with pyarrow alone."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.features import RECORD, rows

from exporter.errors import OutputError, UnavailableError
from exporter.inference.features import parquet
from exporter.inference.features.parquet import ParquetPart, merge, read_videos
from exporter.inference.features.record import VideoRecord, to_json


def write_part(folder: Path, name: str, clips: int, video: int = 0, shape: tuple[int, ...] = (6,)) -> str:
    folder.mkdir(exist_ok=True)
    part = ParquetPart(folder, name, f"clips/{name}.mp4", {"fc6": shape}, to_json(RECORD))
    for row in rows(clips, shape, video=video):
        part.append(row)
    (path,) = part.finish(VideoRecord(f"/clips/{name}.mp4", name, 1, 2, clips, clips))
    return str(path)


def test_a_row_has_the_video_the_clip_and_a_list_of_fixed_size(tmp_path: Path) -> None:
    table = pq.read_table(write_part(tmp_path, "bikes", 5, shape=(2, 1, 3)))
    assert table.column_names == ["video", "clip", "first", "last", "start", "end", "repeated", "feature"]
    assert str(table.schema.field("feature").type) == "fixed_size_list<element: float>[6]"
    assert json.loads(table.schema.field("feature").metadata[b"shape"]) == [2, 1, 3]
    assert table["video"].to_pylist() == ["clips/bikes.mp4"] * 5
    assert table["last"].to_pylist() == [15, 23, 31, 39, 47]
    assert table["end"].to_pylist() == [row.end for row in rows(5)]
    features = np.array(table["feature"].to_pylist(), np.float32)
    np.testing.assert_array_equal(features, [np.ravel(row.features["fc6"]) for row in rows(5, (2, 1, 3))])
    record = json.loads(table.schema.metadata[b"c3d_export.features"])
    assert (record["model_sha256"], record["profile"]["name"], record["sampling"]["step"]) == (
        "a" * 64,
        "caffe-sports1m",
        8,
    )
    assert record["layers"] == {"fc6": [6]}


def test_a_layer_that_is_called_like_another_column() -> None:
    names = parquet.make_schema({"start": (2,), "fc6": (3,)}, b"{}").names
    assert names[-2:] == ["feature_start", "fc6"]
    assert len(set(names)) == len(names)


def test_memory_holds_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 3 * 6 * 4)
    path = write_part(tmp_path, "long", 8)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(number).num_rows for number in range(3)] == [3, 3, 2]
    assert [(stored.record.rows, stored.groups) for stored in read_videos(path)] == [(8, 3)]


def test_the_merged_file_does_not_depend_on_the_order_or_the_number_of_runs(tmp_path: Path) -> None:
    parts = {name: write_part(tmp_path / "parts", name, 4, video) for video, name in enumerate(["b", "a", "c", "d"])}
    record = to_json(RECORD)
    merge([], [parts["d"], parts["b"], parts["a"], parts["c"]], tmp_path / "once.parquet", record)
    merge([], [parts["c"], parts["a"]], tmp_path / "first.parquet", record)
    merge([str(tmp_path / "first.parquet")], [parts["d"], parts["b"]], tmp_path / "second.parquet", record)
    assert (tmp_path / "once.parquet").read_bytes() == (tmp_path / "second.parquet").read_bytes()
    table = pq.read_table(tmp_path / "second.parquet")
    assert table["video"].to_pylist() == [f"clips/{name}.mp4" for name in "abcd" for _ in range(4)]
    np.testing.assert_array_equal(
        np.array(table["feature"].to_pylist()[4:8], np.float32), [row.features["fc6"] for row in rows(4, video=0)]
    )


def test_a_part_replaces_the_videos_earlier_rows_and_others_can_be_left_out(tmp_path: Path) -> None:
    record = to_json(RECORD)
    old = [write_part(tmp_path / "old", name, 3) for name in "abc"]
    merge([], old, tmp_path / "old.parquet", record)
    new = write_part(tmp_path / "new", "b", 5, video=7)
    videos = merge([str(tmp_path / "old.parquet")], [new], tmp_path / "new.parquet", record, without={"c"})
    assert [(stored.record.name, stored.record.rows) for stored in videos] == [("a", 3), ("b", 5)]
    assert pq.read_metadata(tmp_path / "new.parquet").num_rows == 8


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "features.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(OutputError, match="features.parquet"):
        read_videos(str(tmp_path / "features.parquet"))


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UnavailableError, match=r"pip install 'c3d-export\[parquet\]'"):
        parquet.require_pyarrow()
