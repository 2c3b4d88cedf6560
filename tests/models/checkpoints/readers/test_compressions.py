"""Compressed checkpoints are read in one or several streams; what unpacks to too much is refused."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.loaded import load_tensors
from helpers.packed_checkpoints import CHECKPOINTS, VALUES, torch_bytes

from models.checkpoints.readers import read_file
from models.errors import CheckpointError


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_a_compressed_checkpoint_is_read(
    suffix: str, pack: Callable[[bytes], bytes], checkpoint: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{checkpoint}.{suffix}"
    content = CHECKPOINTS[checkpoint]
    path.write_bytes(pack(content[:500]) + pack(content[500:]))  # two streams, as parallel compressors write them
    assert torch.equal(load_tensors(path)["conv1.weight"], VALUES)


def refuse(path: Path, match: str) -> str:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_file(path)
    assert str(caught.value).count(str(path)) >= 1
    return str(caught.value)


def test_an_xz_header_cannot_ask_for_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "c3d.pth.xz"
    path.write_bytes(lzma.compress(torch_bytes(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    content = bytearray(path.read_bytes())
    # the size of the dictionary is the only property of LZMA2: 0x21, one byte, the code of 4 GiB
    at = content.index(b"\x21\x01", 12, 24)
    content[at + 2] = 40
    header = 12 + 4 * (content[12] + 1)
    content[header - 4 : header] = __import__("zlib").crc32(content[12 : header - 4]).to_bytes(4, "little")
    path.write_bytes(content)
    refuse(path, "(?i)memory")


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_many_small_streams_are_refused(suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / f"c3d.pth.{suffix}"
    path.write_bytes(pack(b"") * 100_000)
    with pytest.raises(CheckpointError, match="more than 1,000 small streams"):
        read_file(path)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_file_of_several_streams_is_read(suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = (tmp_path / "c3d.npy", tmp_path / f"c3d.npy.{suffix}")
    np.save(whole[0], np.arange(100_000, dtype=np.float32))
    content = whole[0].read_bytes()
    whole[1].write_bytes(b"".join(pack(content[start : start + 5000]) for start in range(0, len(content), 5000)))
    assert torch.equal(load_tensors(whole[1])["array"], torch.arange(100_000, dtype=torch.float32))
