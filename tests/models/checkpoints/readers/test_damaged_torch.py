"""PyTorch files that are damaged, hold code, or hold no tensors are refused, and nothing of them runs."""

import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import constant_state
from helpers.loaded import load_tensors

from models import build
from models.checkpoints.readers import read_file
from models.errors import CheckpointError
from models.options import BuildOptions


def refuse(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        build(BuildOptions(weights=path, **options))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A valid torch file whose shapes do not matter, because it is damaged before they are looked at."""
    torch.save({"conv1.weight": torch.arange(50_000, dtype=torch.float32)}, tmp_path / "small.pth")
    return tmp_path / "small.pth"


@pytest.mark.parametrize("keep", [1, 7, 100, 1000, 0.5, 0.99])
def test_truncated_torch(keep: float, small: Path) -> None:
    content = small.read_bytes()
    small.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    refuse(small, "damaged or truncated|not a valid|not a pickle")


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_never_loads_as_other_weights(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "c3d.pth"
    torch.save({"w": torch.arange(1000, dtype=torch.float32)}, path)
    content = bytearray(path.read_bytes())
    position = (seed * 7919 + 13) % (len(content) * 8)
    content[position // 8] ^= 1 << position % 8
    path.write_bytes(content)

    try:
        tensors = load_tensors(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:  # a bit that decides nothing: padding, a time stamp, a name's flag
        assert [tuple(t.shape) for t in tensors.values()] == [(1000,)]
        assert torch.equal(next(iter(tensors.values())), torch.arange(1000, dtype=torch.float32))


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)  # pyright: ignore[reportDeprecated]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nested", [True, False])
def test_a_pickle_that_only_wants_to_call(protocol: int, nested: bool, tmp_path: Path) -> None:
    content = {"epoch": [1], "extra": Evil(tmp_path / "ran")} if nested else Evil(tmp_path / "ran")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(content, protocol))
    refuse(tmp_path / "evil.pickle", f"but no tensors; it contains {os.name}.system, not executed")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_weight_that_a_foreign_call_would_make(zipped: bool, tmp_path: Path) -> None:
    content = {"state_dict": constant_state() | {"conv2.weight": Evil(tmp_path / "ran")}}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    refuse(tmp_path / "evil.pth", f"state_dict.conv2.weight is made by calling {os.name}.system")
    assert not (tmp_path / "ran").exists()


def test_two_members_of_one_name(small: Path) -> None:
    with zipfile.ZipFile(small, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("small/data/0", b"x")
    refuse(small, "two members of the archive have the same name")


def test_a_compressed_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    refuse(tmp_path / "bomb.pth", "is compressed; torch.save stores its members plainly")


def test_no_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "loss": [0.5]}, tmp_path / "log.pth")
    refuse(tmp_path / "log.pth", "holds a dict with the keys epoch, loss, but no tensors")


@pytest.mark.parametrize(
    ("what", "offset", "value"),
    [("method", 8, b"\x08\0"), ("CRC", 14, b"\1\2\3\4"), ("size", 18, b"\1\0\0\0\1\0\0\0"), ("name", 30, b"X")],
)
def test_a_members_own_header_must_say_what_the_list_says(what: str, offset: int, value: bytes, tmp_path: Path) -> None:
    """Some readers believe the one, some the other: they would load different weights."""
    path = tmp_path / "plain.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"a": 1}, 2))
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"the header of a/data\.pkl and the list of members differ"):
        read_file(path)


@pytest.mark.parametrize(("count", "size"), [(20_001, 0), (0xFFFF, 0), (1, 1 << 30)])
def test_more_members_than_a_checkpoint_has(count: int, size: int, tmp_path: Path) -> None:
    path = tmp_path / "plain.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"a": 1}, 2))
    content = bytearray(path.read_bytes())
    struct.pack_into("<HHI", content, content.rfind(b"PK\x05\x06") + 8, count, count, size)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="more than 20000 members"):
        read_file(path)


def test_data_in_front_of_the_archive(small: Path) -> None:
    small.write_bytes(small.read_bytes() * 2)
    with pytest.raises(CheckpointError, match="other data precedes its first member"):
        read_file(small)
