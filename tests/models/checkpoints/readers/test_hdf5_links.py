"""HDF5 files: nothing outside the file is followed, and packed arrays are read."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.checkpoints.readers import read_file
from models.errors import CheckpointError, UnavailableError


def refuse(path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_file(path)
    assert str(path) in str(caught.value)


def test_keras_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c3d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UnavailableError, match=r"needs h5py; pip install 'c3d-export\[keras\]'"):
        read_file(tmp_path / "c3d.h5")


def external_link(file: h5py.File) -> None:
    file["conv1"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["conv1"] = h5py.SoftLink("/fc6")


def cycle(file: h5py.File) -> None:
    file["conv1"] = file["/"]


def external_storage(file: h5py.File) -> None:
    file.create_dataset("conv1/kernel", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("conv1/kernel", layout)


def reference(file: h5py.File) -> None:
    file.create_dataset("conv1/kernel", data=np.array([file.ref], dtype=h5py.ref_dtype))


def four_tebibytes(file: h5py.File) -> None:
    file.create_dataset("conv1/kernel", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


@pytest.mark.parametrize(
    ("build_file", "match"),
    [
        (external_link, "conv1 is a soft or external link"),
        (soft_link, "conv1 is a soft or external link"),
        (cycle, "holds itself"),
        (external_storage, "conv1/kernel keeps its values in another file"),
        (virtual, "conv1/kernel keeps its values in another file"),
        (reference, "conv1/kernel holds object, not plain numbers"),
        (four_tebibytes, "claims 4398046511104 bytes of arrays"),
    ],
)
def test_hdf5_is_not_followed_out_of_the_file(
    build_file: Callable[[h5py.File], None], match: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "c3d.h5", "w") as file:
        build_file(file)
    refuse(tmp_path / "c3d.h5", match)
