"""TensorFlow's checkpoints, read without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.loaded import load_tensors
from helpers.protobuf_bytes import varint
from helpers.tf_checkpoint import MAGIC, write_table, write_v1, write_v2

from models.checkpoints.readers import read_file
from models.errors import CheckpointError

generator = np.random.default_rng(0)
VARIABLES: "dict[str, np.ndarray[Any, Any]]" = {
    "var_name/wc1": generator.standard_normal((3, 3, 3, 3, 64), dtype=np.float32),
    "var_name/bc1": generator.standard_normal(64, dtype=np.float32),
    "var_name/wout": generator.standard_normal((40, 7)),
    "var_name/bout/Adam": generator.standard_normal(7, dtype=np.float32),
    "global_step": np.array(20_000, dtype=np.int64),
}


def write(path: Path, version: int, **table: int) -> Path:
    if version == 1:
        write_v1(path / "c3d.model", VARIABLES, **table)
        return path / "c3d.model"
    write_v2(path / "c3d.ckpt-1", VARIABLES, **table)
    return path / "c3d.ckpt-1.index"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("per_block", [1, 2, 100])
def test_every_variable_is_read(version: int, per_block: int, tmp_path: Path) -> None:
    raw = read_file(write(tmp_path, version, per_block=per_block))
    assert raw.container == f"TensorFlow V{version}"
    assert load_tensors(raw).keys() == VARIABLES.keys()
    for name, value in VARIABLES.items():
        assert np.array_equal(load_tensors(raw)[name].numpy(), value), name


@pytest.mark.parametrize("version", [1, 2])
def test_compressed_blocks_are_refused(version: int, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="its blocks are compressed.*save it again"):
        read_file(write(tmp_path, version, kind=1))


@pytest.mark.parametrize("version", [1, 2])
def test_truncation_is_refused_at_every_place(version: int, tmp_path: Path) -> None:
    path = write(tmp_path, version)
    content = path.read_bytes()
    for keep in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:keep])
        with pytest.raises(CheckpointError):
            read_file(path)


def test_a_missing_or_short_data_file(tmp_path: Path) -> None:
    path = write(tmp_path, 2)
    data = tmp_path / "c3d.ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"claims bytes \d+ to \d+ of \d+"):
        read_file(path)
    data.unlink()
    with pytest.raises(CheckpointError, match="c3d.ckpt-1.data-00000-of-00001 is not beside it"):
        read_file(path)


def test_another_table_is_no_checkpoint(tmp_path: Path) -> None:
    write_table(tmp_path / "other.model", [(b"a", b"\x0a\x01b")])
    with pytest.raises(CheckpointError, match="a table, but not a TensorFlow checkpoint"):
        read_file(tmp_path / "other.model")


@pytest.mark.parametrize(
    ("first", "more"),
    [(b"\0\0\0", b"\0\0\0"), (b"\0\x80\x20\0" + b"k" * 4096, b"\xff\x1f\1\0a")],
    ids=["empty", "keys that repeat the one before"],
)
def test_more_entries_than_any_checkpoint_are_refused(first: bytes, more: bytes, tmp_path: Path) -> None:
    """An entry may repeat 4 KiB of a key at the cost of four bytes."""
    block = first + more * 300_000 + b"\0\0\0\0\1\0\0\0"
    handle = b"\0" + varint(len(block))
    index = b"\0\1" + varint(len(handle)) + b"~" + handle + b"\0\0\0\0\1\0\0\0"
    footer = (b"\0\0" + varint(len(block) + 5) + varint(len(index))).ljust(40, b"\0")
    path = tmp_path / "c3d.index"
    path.write_bytes(block + bytes(5) + index + bytes(5) + footer + MAGIC.to_bytes(8, "little"))
    with pytest.raises(CheckpointError, match="more than 10000 entries"):
        read_file(path)
