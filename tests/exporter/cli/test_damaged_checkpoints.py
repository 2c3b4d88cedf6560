"""A checkpoint that is damaged, or holds no network, is refused before torch is imported, and a good one is read once."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import hostile_files, small_models
from helpers.checkpoint_files import ARRAYS, WRITERS
from helpers.checkpoints import narrow_state
from helpers.run import call, python
from helpers.scripted_server import Script, response
from helpers.small_files import refuse

from exporter.cli.given_files import check_given_files
from exporter.errors import CheckpointError, UsageError
from models.builder import build
from models.checkpoints import readers
from models.checkpoints.readers import read_file
from models.options import BuildOptions

REFUSED = """
import json, sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # importing it raises ImportError
from exporter.cli.main import cli
from exporter.errors import CheckpointError
found = []
for words in json.load(open("commands.json")):
    try:
        cli.main(words, standalone_mode=False)
        found.append("not refused")
    except CheckpointError as error:
        found.append(str(error))
json.dump(found, open("found.json", "w"))
"""
LOAD = {
    "export": "--format onnx --weights {}",
    "convert": "convert {} -o out.safetensors",
    "verify parity": "verify parity m.onnx --weights {}",
    "verify self-test": "verify self-test m.onnx --weights {}",
    "bench": "bench --all --weights {}",
}
HDF5 = (".h5",)
"""Read by a process of its own, which takes a third of a second to start."""


def check(commands: list[str], folder: Path, absent: str = "torch onnxruntime onnx_ir openvino") -> None:
    """Each command refuses the checkpoint that it names, without these libraries."""
    small_models.network(folder / "m.onnx")
    (folder / "commands.json").write_text(json.dumps([command.split() for command in commands]))
    done = python(REFUSED, *absent.split(), cwd=folder)
    assert done.returncode == 0, done.stderr
    found = dict(zip(commands, json.loads((folder / "found.json").read_text()), strict=True))
    assert {command: error for command, error in found.items() if "checkpoint" not in error.partition(":")[0]} == {}


def damage(path: Path, kind: str) -> None:
    """Cut off a file's end, or put random bytes in place of all but its first eight, or in place of one value."""
    content = bytearray(path.read_bytes())
    if kind == "cut":
        del content[-3:]
    elif kind == "garbage":
        content[8:] = np.random.default_rng(0).bytes(len(content) - 8)
    else:
        content[content.index(ARRAYS["conv1.bias"].tobytes())] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["cut", "garbage"])
def test_every_format(kind: str, tmp_path: Path) -> None:
    names: list[str] = []
    for name, write in WRITERS.items():
        write(tmp_path / f"checkpoint-{name}")
        damage(tmp_path / f"checkpoint-{name}", kind)
        names.append(f"checkpoint-{name}")
    loads = [LOAD["export"].format(name) for name in names]
    check([*loads, *(f"inspect {name}" for name in names if not name.endswith((*HDF5, ".onnx", ".pt2")))], tmp_path)


def test_every_command(tmp_path: Path) -> None:
    names = {"cut.pth": "cut", "garbage.pth": "garbage", "flipped.pth": "flipped", "flipped.npz": "flipped"}
    for name, kind in names.items():
        WRITERS[f"c3d{Path(name).suffix}"](tmp_path / f"checkpoint-{name}")
        damage(tmp_path / f"checkpoint-{name}", kind)
    check([command.format(f"checkpoint-{name}") for name in names for command in LOAD.values()], tmp_path)


def test_a_checkpoint_in_place_of_a_model(tmp_path: Path) -> None:
    WRITERS["c3d.pth"](tmp_path / "checkpoint.pth")
    damage(tmp_path / "checkpoint.pth", "cut")
    (tmp_path / "video.mp4").touch()
    commands = ["predict checkpoint.pth video.mp4", "features checkpoint.pth video.mp4 -o features"]
    check(commands, tmp_path, absent="torch")


def test_hostile_files_and_other_networks(tmp_path: Path) -> None:
    writers = {
        "aliased.pth": hostile_files.aliased_tuples,
        "nested.pth": hostile_files.nested_tuples,
        "sparse.pth": hostile_files.sparse_tensors,
        "forged.safetensors": hostile_files.forged_name,
        "bomb.npz": hostile_files.bzip2_bomb,
        "resnet.pth": lambda path: torch.save({"layer1.0.conv1.weight": torch.ones(64, 64, 3, 3, 3)}, path),
        "ambiguous.pth": lambda path: torch.save({"a": narrow_state(), "b": narrow_state()}, path),
    }
    for name, write in writers.items():
        write(tmp_path / f"checkpoint-{name}")
    check([LOAD["export"].format(f"checkpoint-{name}") for name in writers], tmp_path)


def test_a_good_one_is_read_once_and_a_changed_one_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c3d.pth"
    torch.save(narrow_state(), path)
    reads: list[Path] = []
    read = readers._read  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(readers, "_read", lambda path: reads.append(path) or read(path))
    check_given_files({"weights": path})
    first = read_file(path)
    assert len(reads) == 1
    assert read_file(path) is not first  # nothing is kept beyond the first use
    read_file(path, ahead=True)
    torch.save({**narrow_state(), "more": torch.ones(1)}, path)
    assert "more" in read_file(path).tensors
    assert len(reads) == 4


def test_what_selects_a_network_is_taken_into_account(tmp_path: Path) -> None:
    path = tmp_path / "c3d.pth"
    torch.save({"a": narrow_state(), "b": narrow_state()}, path)
    check_given_files({"weights": path, "key": "b"})
    check_given_files({"checkpoint": path, "key": "a", "key_map": (("conv1=conv1",),)})
    with pytest.raises(UsageError):
        check_given_files({"weights": path, "key": "c"})
    with pytest.raises(CheckpointError):
        check_given_files({"weights": path, "key": "a", "layout": "jfzhang95"})


def test_another_file_than_the_expected_one_is_said_to_be_that(tmp_path: Path) -> None:
    """Not that it holds no network: first the hash, then what is in it."""
    path = tmp_path / "other.pth"
    torch.save({"layer1.weight": torch.ones(3, 3)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for expected, message in (("0" * 64, "wrong hash"), (digest, "not those of any known")):
        with pytest.raises(CheckpointError, match=message):
            check_given_files({"weights": path, "expect_sha256": expected})
    torch.save(narrow_state(), path)
    with pytest.raises(CheckpointError, match="wrong hash"):
        check_given_files({"weights": path, "expect_sha256": digest})


def test_an_error_is_as_without_reading_ahead(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c3d.pth"
    path.write_bytes(b"garbage")
    refuse(path, "it is truncated")
    done = call("c3d-export", "convert", path, "-o", "a.safetensors", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


def test_a_damaged_one_behind_an_address_is_refused_too_and_a_good_one_is_read_once(
    running: tuple[Script, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, trusted = running
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    torch.save(narrow_state(), tmp_path / "c3d.pth")
    content = (tmp_path / "c3d.pth").read_bytes()
    server.replies, server.requests = [response(content[: len(content) // 2])], []
    with pytest.raises(CheckpointError, match="it was downloaded"):
        check_given_files({"weights": f"{server.address}/damaged.pth"})
    reads: list[Path] = []
    read = readers._read  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(readers, "_read", lambda path: reads.append(path) or read(path))
    server.replies, server.requests = [response(content)], []
    check_given_files({"weights": f"{server.address}/good.pth"})
    assert len(build(BuildOptions(weights=f"{server.address}/good.pth")).network.state_dict()) == 22
    assert (len(reads), len(server.requests)) == (1, 1)
