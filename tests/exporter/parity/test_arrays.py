"""The user's own inputs: arrays for several inputs, and files that are none."""

from pathlib import Path

import numpy as np
import pytest
from helpers import small_models
from helpers.parity import verify

from exporter.errors import BadInputError


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
