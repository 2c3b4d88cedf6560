"""NumPy arrays and C3D blobs with their table of rows, and what ends a video early."""

import csv
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.features import rows

from exporter.errors import UsageError
from exporter.inference.features.array_files import BlobWriter, NpyFile, NpyWriter, check_shapes, encode_blob
from exporter.inference.features.record import VideoRecord

DONE = VideoRecord("/v.mp4", "v", 1, 2, 3, 3)


def test_numpy_loads_the_rows_with_their_frames_and_times(tmp_path: Path) -> None:
    given = rows(11)
    writer = NpyWriter(tmp_path, "v", {"fc6": (6,)})
    for row in given:
        writer.append(row)
    assert [path.name for path in writer.finish(DONE)] == ["v.csv", "v.npy"]
    array = np.load(tmp_path / "v.npy", allow_pickle=False)
    assert (array.dtype, array.shape) == (np.float32, (11, 6))
    np.testing.assert_array_equal(array, np.stack([row.features["fc6"] for row in given]))
    with (tmp_path / "v.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [int(line["first"]) for line in lines] == [row.first for row in given]
    assert lines[2] == {
        "clip": "2",
        "first": "16",
        "last": "31",
        "start": "0.640000",
        "end": "1.280000",
        "repeated": "0",
    }


def test_layers_have_a_file_each_and_keep_their_shape(tmp_path: Path) -> None:
    (one,) = rows(1, (4, 1, 2, 2), "pool5")
    (two,) = rows(1)
    one = type(one)(0, 0, 15, 0, 1, 0, {**one.features, **two.features})
    writer = NpyWriter(tmp_path, "v", {"pool5": (4, 1, 2, 2), "fc6": (6,)})
    writer.append(one)
    writer.finish(DONE)
    np.testing.assert_array_equal(np.load(tmp_path / "v.pool5.npy"), one.features["pool5"][np.newaxis])
    np.testing.assert_array_equal(np.load(tmp_path / "v.fc6.npy"), one.features["fc6"][np.newaxis])


@pytest.mark.parametrize("shape", [(4096,), (512, 1, 4, 4), (), (1,) * 20])
def test_the_header_of_a_file_with_rows_is_numpys_own(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.ones((3, *shape), np.float32)
    file = NpyFile(tmp_path / "a.npy", shape)
    for row in array:
        file.append(np.asarray(row))
    file.finish()
    np.save(tmp_path / "b.npy", array)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_row_of_another_shape_is_refused(tmp_path: Path) -> None:
    file = NpyFile(tmp_path / "a.npy", (3,))
    with pytest.raises(ValueError, match=r"\(4,\)"):
        file.append(np.zeros(4, np.float32))
    file.close()


def read_binary_blob(path: Path) -> tuple[tuple[int, ...], list[float]]:
    """What read_binary_blob.m does: five int32, then as many singles as their product."""
    content = path.read_bytes()
    sizes = struct.unpack("<5i", content[:20])
    count = sizes[0] * sizes[1] * sizes[2] * sizes[3] * sizes[4]
    return sizes, list(struct.unpack(f"<{count}f", content[20:]))


def test_each_clip_is_a_file_called_after_its_first_frame(tmp_path: Path) -> None:
    given = rows(3, shape=(4096,))
    writer = BlobWriter(tmp_path, "v", {"fc6": "fc6-1"})
    for row in given:
        writer.append(row)
    assert [path.name for path in writer.finish(DONE)] == ["v.csv", "v"]
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["000000.fc6-1", "000008.fc6-1", "000016.fc6-1"]
    path = tmp_path / "v" / "000008.fc6-1"
    assert path.stat().st_size == 16_404
    sizes, numbers = read_binary_blob(path)
    assert sizes == (1, 4096, 1, 1, 1)
    assert numbers == given[1].features["fc6"].tolist()


def test_maps_keep_their_axes(tmp_path: Path) -> None:
    values = np.arange(2 * 1 * 3 * 4, dtype=np.float32).reshape(2, 1, 3, 4)
    (tmp_path / "a").write_bytes(encode_blob(values))
    sizes, numbers = read_binary_blob(tmp_path / "a")
    assert (sizes, numbers) == ((1, 2, 1, 3, 4), [float(value) for value in range(24)])
    with pytest.raises(UsageError, match="pool has the shape .* one to 4 axes"):
        check_shapes({"fc6": (8,), "pool": (1,) * 5})


@pytest.mark.parametrize(
    ("start", "names"), [(1, ["000001.prob", "000009.prob"]), (None, ["000000.prob", "000001.prob"])]
)
def test_frames_of_images_count_from_1_and_aggregated_rows_by_position(
    start: int | None, names: list[str], tmp_path: Path
) -> None:
    writer = BlobWriter(tmp_path, "v", {"fc6": "prob"}, start)
    for row in rows(2):
        writer.append(row)
    writer.finish(DONE)
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == names
