"""torch's files in pickle protocols 0 and 1: what stands in the text of a persistent id is the tuple of other protocols."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.loaded import load_tensors

from models.checkpoints.checkpoint import read_checkpoint
from models.checkpoints.pickles.persistent import parse_identifier
from models.checkpoints.pickles.values import Global
from models.checkpoints.readers import read_file
from models.errors import CheckpointError


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)  # pyright: ignore[reportDeprecated]


@pytest.mark.parametrize("name", ["c3d.pth", "c3d.unknown"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [0, 1])
def test_a_c3d_of_an_old_protocol(protocol: int, zipped: bool, name: str, tmp_path: Path) -> None:
    state = narrow_state()
    path = tmp_path / name
    torch.save({"epoch": 1, "state_dict": state}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path).tensors
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [0, 1])
def test_nothing_is_executed(protocol: int, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"w": torch.arange(3.0), "half": torch.ones(2).half(), "extra": Evil()}
    torch.save(content, "c3d.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = read_file(tmp_path / "c3d.pth")
    assert {name: value.tolist() for name, value in load_tensors(found).items()} == {"w": [0, 1, 2], "half": [1, 1]}
    assert found.hazards == (f"{os.name}.system",)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tuple_", "items"),
    [
        (("storage", torch.FloatStorage, "0", "cuda:0", 12), ["storage", Global("torch", "FloatStorage"), "0", "cuda:0", 12]),
        (("storage", torch.HalfStorage, "94", "cpu", 3, None), ["storage", Global("torch", "HalfStorage"), "94", "cpu", 3, None]),
        (
            ("storage", torch.FloatStorage, "7", "cpu", 12, ("8", 3, 4)),
            ["storage", Global("torch", "FloatStorage"), "7", "cpu", 12, ["8", 3, 4]],
        ),
        (("module", torch.nn.Linear, "/a/b.py", "class\n'Linear'"), ["module", Global("torch.nn.modules.linear", "Linear"), None, None]),
    ],
    ids=["zip", "legacy", "view", "module"],
)  # fmt: skip
def test_the_text_is_the_tuple(tuple_: tuple[object, ...], items: list[object]) -> None:
    assert parse_identifier(str(tuple_)) == items
    assert parse_identifier(items) is items


@pytest.mark.parametrize(
    "text",
    ["", "0", "('storage', <class 'torch.FloatStorage'>, '0', 'cpu', -1)", "__import__('os').system('touch ran')",
     "('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 12) + ()"],
)  # fmt: skip
def test_any_other_text_is_refused(text: str, tmp_path: Path) -> None:
    assert parse_identifier(text) == text
    state = {"w": torch.ones(12)}
    torch.save(state, tmp_path / "c3d.pth", pickle_protocol=0, _use_new_zipfile_serialization=False)
    whole = (tmp_path / "c3d.pth").read_bytes()
    start, stop = whole.index(b"P('storage'"), whole.index(b")\n", whole.index(b"P('storage'"))
    (tmp_path / "c3d.pth").write_bytes(whole[:start] + b"P" + text.encode() + whole[stop + 1 :])
    with pytest.raises(CheckpointError, match=r"c3d\.pth: .*a persistent id is not one of torch's"):
        read_file(tmp_path / "c3d.pth")
