"""A file with exactly one checkpoint inside is read as the checkpoint itself would be; nothing else of it is used."""

import bz2
import gzip
import hashlib
import io
import lzma
import shlex
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import pytest
import torch
from helpers.checkpoints import constant_state
from helpers.loaded import load_tensors
from helpers.packed_checkpoints import CHECKPOINTS, VALUES, torch_bytes
from helpers.tf_checkpoint import write_v1, write_v2
from onnx import helper, numpy_helper

from models import unpacking
from models.checkpoints.readers import read_file
from models.errors import CheckpointError


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))  # pyright: ignore[reportUnknownMemberType]
    return path


def zipped(path: Path | BinaryIO, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


BESIDE = {
    "README.md": b"# C3D",
    "labels.txt": b"a\nb\n",
    "LICENSE": b"MIT",
    "__MACOSX/._c3d.pth": b"\0\x05",
    "._c3d.pth": b"\0",
}
ARCHIVES: dict[str, Callable[[Path, dict[str, bytes]], object]] = {
    "c3d.tar": tar,
    "c3d.tar.gz": lambda path, members: tar(path, members, "w:gz"),
    "c3d.tgz": lambda path, members: tar(path, members, "w:gz"),
    "c3d.tar.bz2": lambda path, members: tar(path, members, "w:bz2"),
    "c3d.tar.xz": lambda path, members: tar(path, members, "w:xz"),
    "c3d.pth.zip": zipped,
    "stored.zip": lambda path, members: zipped(path, members, zipfile.ZIP_STORED),
    "no suffix": tar,
}


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_the_one_checkpoint_of_an_archive_is_read(archive: str, checkpoint: str, tmp_path: Path) -> None:
    path = tmp_path / archive
    ARCHIVES[archive](path, BESIDE | {f"out/{checkpoint}": CHECKPOINTS[checkpoint]})
    found = read_file(path)
    assert torch.equal(load_tensors(found)["conv1.weight"], VALUES)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.size == path.stat().st_size
    assert found.container.endswith((" in tar", " in zip", "in tar in gzip", "in tar in bzip2", "in tar in xz"))
    assert [path.name for path in tmp_path.iterdir()] == [archive]


def test_a_whole_c3d_in_an_archive_loads(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"state_dict": constant_state(101)}, stream)
    path = tar(tmp_path / "c3d.tar", {"c3d.pth": stream.getvalue()})
    from models import build
    from models.options import BuildOptions

    assert build(BuildOptions(weights=path)).checkpoint is not None


@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_keras_archive_holds_one_checkpoint(pack: Callable[[Path, dict[str, bytes]], object], tmp_path: Path) -> None:
    path = tmp_path / "c3d.keras"
    pack(path, {"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": CHECKPOINTS["c3d.h5"]})
    assert torch.equal(load_tensors(path)["conv1.weight"], VALUES)


@pytest.mark.parametrize("kind", ["tensorflow", "onnx"])
def test_a_member_finds_its_data_file_in_the_archive(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    if kind == "tensorflow":
        write_v2(folder / "model-7", {"conv1.weight": VALUES.numpy()})
        (folder / "checkpoint").write_text('model_checkpoint_path: "model-7"\n')
        (folder / "model-7.meta").write_bytes(b"\x0a\0")
    else:
        graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(VALUES.numpy(), "conv1.weight")])
        onnx.save(helper.make_model(graph), str(folder / "c3d.onnx"), save_as_external_data=True, size_threshold=0)
    path = tmp_path / "run.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "run")
    found = read_file(path)
    assert torch.equal(load_tensors(found)["conv1.weight"], VALUES)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.size == path.stat().st_size


def test_a_v1_checkpoint_of_tensorflow_has_a_number_for_a_suffix(tmp_path: Path) -> None:
    write_v1(tmp_path / "model.ckpt-100", {"conv1.weight": VALUES.numpy()})
    path = tmp_path / "c3d.zip"
    zipped(path, {"model.ckpt-100": (tmp_path / "model.ckpt-100").read_bytes()})
    assert torch.equal(load_tensors(path)["conv1.weight"], VALUES)


# ---- refusals


def refuse(path: Path, match: str) -> str:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_file(path)
    assert str(caught.value).count(str(path)) >= 1
    return str(caught.value)


@pytest.mark.parametrize(("name", "pack"), [("all.tar.gz", ARCHIVES["c3d.tar.gz"]), ("all.zip", zipped)])
def test_several_checkpoints_are_named_with_a_command_that_extracts_one(
    name: str, pack: Callable[[Path, dict[str, bytes]], object], tmp_path: Path
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    pack(folder / name, {"out/best one.pth": torch_bytes(), "out/last.pth": torch_bytes()})
    message = refuse(folder / name, "archive of 2 checkpoints: out/best one.pth, out/last.pth")
    command = shlex.split(message.partition("such as by ")[2])
    command[0] = command[0].replace("python", sys.executable)
    subprocess.run(command, cwd=tmp_path, check=True)
    assert torch.equal(load_tensors(tmp_path / "out" / "best one.pth")["conv1.weight"], VALUES)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_no_checkpoint(pack: Callable[[Path, dict[str, bytes]], object], tmp_path: Path) -> None:
    path = tmp_path / "c3d.pth"
    pack(path, {"README.md": b"# C3D", "data/a.txt": b"x"})
    refuse(path, r"archive without a checkpoint; it holds README.md, data/a.txt$")


@pytest.mark.parametrize("outer", ["c3d.tar", "c3d.pth.zip", "c3d.tar.gz"])
def test_an_archive_in_an_archive_is_refused(outer: str, tmp_path: Path) -> None:
    inner = tar(tmp_path / "inner.tar", {"c3d.pth": torch_bytes()}).read_bytes()
    ARCHIVES[outer](tmp_path / outer, {"inner.tar": inner})
    refuse(tmp_path / outer, "inner.tar inside is itself an archive")


def test_links_devices_and_folders_are_no_members(tmp_path: Path) -> None:
    path = tmp_path / "c3d.tar"
    with tarfile.open(path, "w") as archive:
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "c3d.pth"), (tarfile.CHRTYPE, "")):
            entry = tarfile.TarInfo(f"{kind.decode()}.pth")
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
        folder = tarfile.TarInfo("folder.pth")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        entry = tarfile.TarInfo("../../../outside.pth")
        entry.size = len(torch_bytes())
        archive.addfile(entry, io.BytesIO(torch_bytes()))
    assert torch.equal(load_tensors(path)["conv1.weight"], VALUES)
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.tar"]
    assert not (tmp_path / "../../../outside.pth").exists()


@pytest.mark.parametrize("archive", ["c3d.tar", "c3d.tar.gz", "c3d.tar.xz", "c3d.tar.bz2", "c3d.pth.zip"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncated(archive: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / archive
    content = bytes(range(256)) * 400
    ARCHIVES[archive](
        path, {"c3d.pth": np.random.default_rng(0).permutation(np.frombuffer(content, np.uint8)).tobytes()}
    )
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    refuse(path, "damaged or truncated|truncated")


def test_a_flipped_bit_in_a_stored_member_is_found(tmp_path: Path) -> None:
    path = tmp_path / "c3d.zip"
    zipped(path, {"c3d.pth": torch_bytes()}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    refuse(path, "damaged or truncated: Bad CRC-32")


@pytest.mark.parametrize("archive", ["c3d.pth.gz", "c3d.pth.bz2", "c3d.pth.xz", "c3d.zip", "c3d.tar.gz"])
def test_a_bomb_is_refused_before_it_fills_the_disk(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS_UNPACKED", 1 << 20)
    path, zeros = tmp_path / archive, bytes(3 << 20)
    match archive:
        case "c3d.zip":
            zipped(path, {"c3d.pth": zeros})
        case "c3d.tar.gz":
            tar(path, {"c3d.pth": zeros}, "w:gz")
        case _:
            path.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[archive.rsplit(".", maxsplit=1)[-1]].compress(zeros))
    refuse(path, "unpacks to more than 1 MiB: a decompression bomb")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c3d.zip"
    zipped(path, {"c3d.pth": torch_bytes()})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refuse(path, "encrypted")


def test_more_members_than_any_run_writes(tmp_path: Path) -> None:
    path = tmp_path / "c3d.tar"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("a")
        for _ in range(10_001):
            archive.addfile(entry)
    refuse(path, "more than 10000 members")


def test_a_tar_that_is_really_a_torch_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model_best.pth.tar"
    path.write_bytes(torch_bytes())
    assert read_file(path).container == "torch zip"
