"""Archives as torch wrote them before 0.1.10 are read as torch itself reads them, and nothing in them is executed."""

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import constant_state, narrow_state
from helpers.loaded import load_tensors
from torch import Tensor

from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.readers import read_file
from models.errors import CheckpointError


class Pickler(pickle.Pickler):
    """Replaces tensors by a text, as torch 0.1.9's `persistent_id` did, or by a module's class and source."""

    def persistent_id(self, obj: object) -> object:
        return str(id(obj)) if isinstance(obj, Tensor) else None


def members(content: object, tensors: list[Tensor], views: list[tuple[Any, ...]] | None = None) -> dict[str, bytes]:
    """What torch 0.1.9's `save` put into its archive: its code writes the three streams in this way."""
    stores = list({value.untyped_storage().data_ptr(): value for value in tensors}.values())
    keys = {value.untyped_storage().data_ptr(): number for number, value in enumerate(stores, 1)}
    storages = pickle.dumps(len(stores), 2)
    for number, value in enumerate(stores, 1):
        flat = torch.empty(0, dtype=value.dtype).set_(value.untyped_storage())
        cls = torch.FloatStorage if value.dtype == torch.float32 else torch.DoubleStorage
        storages += pickle.dumps((number, "cpu", cls), 2) + struct.pack("<q", flat.numel()) + flat.numpy().tobytes()
    storages += pickle.dumps(views or [], 2)
    described = pickle.dumps(len(tensors), 2)
    for value in tensors:
        described += pickle.dumps((id(value), keys[value.untyped_storage().data_ptr()], torch.FloatTensor), 2)
        sizes = *value.shape, *value.stride(), value.storage_offset()
        described += struct.pack("<ii", value.dim(), 77) + struct.pack(f"<{len(sizes)}q", *sizes)
    stream = io.BytesIO()
    Pickler(stream, 2).dump(content)
    return {"sys_info": pickle.dumps({}, 2), "pickle": stream.getvalue(), "tensors": described, "storages": storages}


def write(path: Path, parts: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["old.pth", "old.t7", "old"])
def test_it_is_read_as_torch_reads_it(name: str, tmp_path: Path) -> None:
    shared = torch.arange(24.0)
    state = {
        "conv1.weight": torch.randn(5, 3, 2),
        "turned": torch.randn(4, 6).t(),
        "part": shared[4:16].view(3, 4),
        "other part": shared[1::2],
        "double": torch.randn(7, dtype=torch.float64),
    }
    content = {"epoch": 3, "state_dict": state}
    path = write(tmp_path / name, members(content, list(state.values())))
    expected = torch.load(path, weights_only=False)
    found = read_file(path)
    assert found.container == "torch tar"
    assert load_tensors(found).keys() == {f"state_dict.{key}" for key in state}
    for key, value in state.items():
        assert torch.equal(load_tensors(found)[f"state_dict.{key}"], value)
        assert torch.equal(expected["state_dict"][key], value)  # the test writes what torch wrote


def test_a_c3d_is_found_in_it(tmp_path: Path) -> None:
    state = narrow_state()
    checkpoint = read_checkpoint(write(tmp_path / "old.pth", members(state, list(state.values()))))
    assert checkpoint.tensors.keys() == constant_state().keys()
    assert all(torch.equal(checkpoint.tensors[name], value) for name, value in state.items())


def test_a_storage_that_is_a_view_of_another(tmp_path: Path) -> None:
    value = torch.arange(6.0)
    parts = members({"w": value}, [value], [(2, 1, 2, 4)])
    parts["tensors"] = pickle.dumps(1, 2) + pickle.dumps((id(value), 2, torch.FloatTensor), 2)
    parts["tensors"] += struct.pack("<ii4q", 1, 0, 3, 1, 1, 0)[:-8]  # one axis of 3, stride 1, offset 1
    path = write(tmp_path / "old.pth", parts)
    assert load_tensors(path)["w"].tolist() == [3, 4, 5]
    assert torch.load(path, weights_only=False)["w"].tolist() == [3, 4, 5]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)  # pyright: ignore[reportDeprecated]


@pytest.mark.parametrize("member", ["pickle", "tensors", "storages", "sys_info"])
def test_nothing_is_executed(member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    value = torch.ones(3)
    parts = members({"w": value, "extra": Evil() if member == "pickle" else None}, [value])
    if member != "pickle":
        parts[member] = pickle.dumps(Evil(), 2) + parts[member]
    path = write(tmp_path / "old.pth", parts)
    if member in ("tensors", "storages"):
        with pytest.raises(CheckpointError, match=r"old\.pth: .*the number of its tensors or storages is none"):
            read_file(path)
    else:
        found = read_file(path)
        assert [*load_tensors(found)] == ["w"]
        assert found.hazards == ((f"{os.name}.system",) if member == "pickle" else ())
    assert not (tmp_path / "ran").exists()


VALUE = torch.arange(4.0)
SOUND = members({"w": VALUE}, [VALUE])


@pytest.mark.parametrize(
    ("changed", "reported"),
    [
        ({"storages": SOUND["storages"][:-20]}, "truncated"),
        ({"tensors": SOUND["tensors"][:-4]}, "truncated"),
        ({"tensors": SOUND["tensors"][:-8] + struct.pack("<q", 1)}, "beyond its storage"),
        ({"tensors": SOUND["tensors"][:-24] + struct.pack("<3q", 1 << 40, 1, 0)}, "beyond its storage"),
        ({"tensors": SOUND["tensors"][:-24] + struct.pack("<3q", -4, 1, 0)}, "no list of sizes"),
        ({"tensors": SOUND["tensors"][:-32] + struct.pack("<q3q", 65, 4, 1, 0)}, "claims 65 axes"),
        ({"pickle": pickle.dumps({"w": 1}, 2)}, "no tensors"),
        ({"pickle": b"\x80\x02X\x01\x00\x00\x007Q."}, "names no tensor"),
        ({"storages": pickle.dumps(0, 2) + pickle.dumps([(9, 8, 0, 1)], 2)}, "names no storage"),
        ({"storages": SOUND["storages"].replace(struct.pack("<q", 4), struct.pack("<q", -4))}, "claims -4 numbers"),
    ],
)
def test_what_is_damaged_is_refused(changed: dict[str, bytes], reported: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"old\.pth: .*{reported}"):
        read_file(write(tmp_path / "old.pth", {**SOUND, **changed}))
