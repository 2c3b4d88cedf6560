"""safetensors files that are truncated or ambiguous are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models import build
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
