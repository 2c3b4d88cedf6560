"""What `numpy.save` writes of a dict is read without unpickling it."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import constant_state
from helpers.loaded import load_tensors
from helpers.small_files import refuse

from exporter.errors import BadInputError
from exporter.parity import arrays
from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.readers import read_file
from models.errors import CheckpointError
from models.specs import TensorSpec

WEIGHTS = {"conv1.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc8.bias": np.arange(4, dtype=np.float64)}


def save(path: Path, content: Any) -> Path:
    np.save(path, content, allow_pickle=True)
    return path


@pytest.mark.parametrize(
    ("content", "prefix"),
    [(WEIGHTS, ""), ({"state_dict": WEIGHTS, "epoch": 3}, "state_dict."), ([WEIGHTS], "")],
)
def test_a_dict_of_arrays(content: Any, prefix: str, tmp_path: Path) -> None:
    found = read_file(save(tmp_path / "c3d.npy", content))
    assert found.container == "npy, pickled"
    assert {name: value.tolist() for name, value in load_tensors(found).items()} == {
        f"{prefix}{name}": value.tolist() for name, value in WEIGHTS.items()
    }


def test_a_c3d_is_found_in_it(tmp_path: Path) -> None:
    small = {name: value.numpy() for name, value in constant_state(101).items() if name.startswith("conv1")}
    found = read_file(save(tmp_path / "c3d.npy", small))
    assert torch.equal(load_tensors(found)["conv1.weight"], constant_state(101)["conv1.weight"])
    with pytest.raises(CheckpointError, match="c3d.npy"):
        read_checkpoint(tmp_path / "c3d.npy")  # two tensors are no C3D


@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_array(order: Any, dtype: str, tmp_path: Path) -> None:
    values = np.array(WEIGHTS["conv1.weight"], dtype, order=order)
    assert load_tensors(save(tmp_path / "c3d.npy", values))["array"].tolist() == values.tolist()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)  # pyright: ignore[reportDeprecated]


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "c3d.npy", {"weights": WEIGHTS, "extra": Evil()})
    found = read_file(path)
    assert [*load_tensors(found)] == [f"weights.{name}" for name in WEIGHTS]
    assert any(name.endswith("system") for name in found.hazards)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (np.array(["a", "b"]), "not plain numbers"),
        (np.zeros(3, [("a", "f4")]), "not plain numbers"),
        ({"epoch": 3}, "no tensors"),
    ],
)
def test_what_is_refused(content: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=match):
        read_file(save(tmp_path / "c3d.npy", content))


@pytest.mark.parametrize("keep", [7, 30, 0.5, 0.95])
@pytest.mark.parametrize("content", [WEIGHTS, np.arange(100.0)])
def test_truncated(keep: float, content: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "c3d.npy", content)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(CheckpointError, match="c3d.npy"):
        read_file(path)


HEADERS = ("{'descr': '<f4', 'shape': (2,", "-" * 9000 + "1", "1+" * 4000 + "1", "  a\n b", "{'descr': ['x', 'y'")
"""What NumPy's parser of headers answers by errors of five classes, none of them a ValueError."""


@pytest.mark.parametrize(
    "header",
    [
        *HEADERS,
        *(
            f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size},)}}"
            for size in ("True", "-2", "1 << 70", str(1 << 62))
        ),
    ],
    ids=lambda text: text[:8],
)
def test_a_header_that_is_none(header: str, tmp_path: Path) -> None:
    content = header.encode().ljust(118, b" ")
    (tmp_path / "c3d.npy").write_bytes(b"\x93NUMPY\x01\0" + len(content).to_bytes(2, "little") + content + bytes(8))
    refuse(tmp_path / "c3d.npy", "c3d.npy")
    with zipfile.ZipFile(tmp_path / "c3d.npz", "w") as archive:
        archive.write(tmp_path / "c3d.npy", "conv1.weight.npy")
    refuse(tmp_path / "c3d.npz", "c3d.npz: conv1.weight")
    with pytest.raises(BadInputError, match="not an .npy file of arrays$"):
        arrays.read_npy(tmp_path / "c3d.npy", TensorSpec("x", "float32", (2,)))
    with pytest.raises(BadInputError, match="not an .npz file of arrays$"):
        arrays.read_npz(tmp_path / "c3d.npz", (TensorSpec("x", "float32", (2,)),))
