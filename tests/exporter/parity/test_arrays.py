"""The user's own inputs: arrays for several inputs, and files that are none."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import small_models
from helpers.parity import verify

from exporter.errors import BadInputError
from models.checkpoints.readers import read_file
from models.errors import CheckpointError


def test_arrays_for_several_inputs(tmp_path: Path) -> None:
    mine, theirs, fault = (
        small_models.two_inputs(tmp_path / "a.onnx"),
        small_models.two_inputs(tmp_path / "b.onnx"),
        small_models.two_inputs(tmp_path / "c.onnx", 1.001),
    )
    generator = np.random.default_rng(2)
    arrays = (tmp_path / "in.npz",)
    np.savez(arrays[0], words=generator.integers(0, 50, (3, 4)), bias=generator.standard_normal((3, 6)))
    report = verify(mine, theirs, arrays=arrays, localize=True)
    assert report.passed
    assert [(row.input, row.output) for row in report.comparisons if row.batch == 1] == [
        (f"in.npz row {row}", output) for row in range(3) for output in ("scores", "best")
    ]
    assert not verify(fault, theirs, arrays=arrays).passed
    np.savez(tmp_path / "short.npz", words=np.zeros((3, 4)))
    np.savez(tmp_path / "ragged.npz", words=np.zeros((3, 4)), bias=np.zeros((2, 6)))
    np.savez(tmp_path / "wide.npz", words=np.zeros((3, 4)), bias=np.zeros((3, 7)))
    for name, reported in {
        "short": "has no array called bias; it has words",
        "ragged": r"different numbers of rows, or none: \[2, 3\]",
        "wide": r"bias has shape \(3, 7\); expected \(rows, 6\)",
        "none": "no such file",
    }.items():
        with pytest.raises(BadInputError, match=reported):
            verify(mine, theirs, arrays=(tmp_path / f"{name}.npz",))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04torn"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(BadInputError, match=r"in.npz: not an .npz file of arrays$"):
        verify(theirs, theirs, arrays=(tmp_path / "in.npz",))


def test_an_archive_that_claims_to_unpack_to_far_more_than_its_size_is_not_unpacked(
    theirs: Path, tmp_path: Path
) -> None:
    np.savez_compressed(tmp_path / "in.npz", x=np.zeros(2000))
    content = bytearray((tmp_path / "in.npz").read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of the directory; 24 bytes on is the size that the member unpacks to
    content[entry + 24 : entry + 28] = (600 << 20).to_bytes(4, "little")
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(BadInputError, match=r"in.npz: not an .npz file of arrays$"):
        verify(theirs, theirs, arrays=(tmp_path / "in.npz",))


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED], ids=str)
def test_a_damaged_stream_is_refused_whatever_compressed_it(kind: int, theirs: Path, tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.random.default_rng(0).standard_normal(500))
    with zipfile.ZipFile(tmp_path / "in.npz", "w", kind) as archive:
        archive.writestr("x.npy", content.getvalue())
    damaged = bytearray((tmp_path / "in.npz").read_bytes())
    damaged[200:260] = bytes(60)
    (tmp_path / "in.npz").write_bytes(damaged)
    with pytest.raises(BadInputError, match=r"in.npz: not an .npz file of arrays"):
        verify(theirs, theirs, arrays=(tmp_path / "in.npz",))
    with pytest.raises(CheckpointError, match="in.npz: (x is not a valid array|Invalid data stream)"):
        read_file(tmp_path / "in.npz")
