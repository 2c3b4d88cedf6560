"""The binary format of Facebook's C3D, read back as its scripts read it."""

import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.features import rows

from exporter.errors import UsageError
from exporter.inference.features.c3d_blob import BlobWriter, check_shapes, encode_blob
from exporter.inference.features.record import VideoRecord

DONE = VideoRecord("/v.mp4", "v", 1, 2, 3, 3)


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
