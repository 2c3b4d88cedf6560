"""safetensors files that are truncated or ambiguous are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models import build
from models.checkpoints.readers import read_file
from models.errors import CheckpointError
from models.options import BuildOptions


def refuse(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        build(BuildOptions(weights=path, **options))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("keep", [4, 20, 0.5, 0.999])
def test_truncated_safetensors(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "c3d.safetensors"
    save_file({"conv1.weight": torch.arange(50_000, dtype=torch.float32)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    refuse(path, "truncated|not a valid safetensors")


def test_a_safetensors_name_that_stands_twice(tmp_path: Path) -> None:
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f'{{"conv1.bias":{entry},"conv1.bias":{entry}}}'.encode()
    (tmp_path / "twice.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refuse(tmp_path / "twice.safetensors", "duplicate names in its header: conv1.bias")


def test_a_safetensors_header_larger_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "huge.safetensors").write_bytes((1 << 63).to_bytes(8, "little") + b"{}")
    refuse(tmp_path / "huge.safetensors", "its header claims 9223372036854775808 bytes")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param(b'{"a":' + b"[" * 100_000, "its header is not JSON", id="depth"),
        pytest.param(b" " * (5 << 20), "more than 10000 tensors take", id="bytes"),
        pytest.param(b"{" + b",".join(b'"%d":{}' % n for n in range(10_001)) + b"}", "10001 tensors", id="tensors"),
        pytest.param(b'{"a":{"shape":[' + b"1," * 64 + b"1]}}", "more than 64 axes", id="axes"),
        pytest.param(b'{"a":{"shape":[' + b"9" * 100_000 + b"]}}", "its header is not JSON", id="digits"),
        pytest.param(b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}', "not a valid", id="infinity"),
    ],
)
def test_headers_that_claim_too_much(header: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "c3d.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.replace(b" ", b"{", 1) + bytes(4))
    with pytest.raises(CheckpointError, match=reason):
        read_file(path)
