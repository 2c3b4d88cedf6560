"""The TorchScript file: runs without this project, carries its manifest, holds nothing of this machine."""

import os
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.exported import NARROW, ExportedByCommand
from helpers.run import HIDE_PROJECT, python

from exporter.artifacts.files import read_manifest
from exporter.errors import ArtifactError
from exporter.formats import FORMATS, load_artifact
from exporter.requests import ExportRequest
from exporter.workflows.export import ExportResult, export
from models import paths
from models.built_model import BuiltModel

ALONE = f"""{HIDE_PROJECT}
import warnings
warnings.simplefilter("ignore")
import torch

extra = {{"c3d_export.manifest": ""}}
module = torch.jit.load(sys.argv[1], _extra_files=extra)
torch.manual_seed(7)
torch.save(module(torch.rand(2, 3, 16, 48, 48)), sys.argv[2])
print(extra["c3d_export.manifest"].decode())
"""


def test_an_artifact_runs_without_this_project(
    narrow_artifacts: ExportResult, narrow: BuiltModel, tmp_path: Path
) -> None:
    done = python(ALONE, narrow_artifacts.artifacts[1].path, tmp_path / "output.pt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    torch.manual_seed(7)
    with torch.inference_mode():
        expected = narrow.network(torch.rand(2, 3, 16, 48, 48))
    output = torch.load(tmp_path / "output.pt", weights_only=True)
    assert torch.allclose(output, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert '"state_sha256"' in done.stdout


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_error_of_a_wrong_shape_states_the_numbers(narrow_artifacts: ExportResult) -> None:
    script = torch.jit.load(str(narrow_artifacts.artifacts[1].path))  # pyright: ignore
    with pytest.raises(torch.jit.Error, match=r"must be \(N, 3, 16, 48, 48\)(.|\n)*got \[1, 3, 8, 48, 48\]"):
        script(torch.zeros(1, 3, 8, 48, 48))


def test_the_manifest_inside_is_the_one_beside_it(exported: ExportedByCommand) -> None:
    beside = read_manifest(exported.torchscript.with_name("c3d.pt.json"))
    assert FORMATS["torchscript"].read_embedded(exported.torchscript) == beside.embedded()


def test_nothing_of_this_machine_is_inside(exported: ExportedByCommand) -> None:
    with zipfile.ZipFile(exported.torchscript) as archive:
        names = archive.namelist()
        small = b"".join(archive.read(name) for name in names if archive.getinfo(name).file_size < 100_000)
    assert all(name.startswith("archive/") for name in names)
    assert not any("debug_pkl" in name or "mangle" in name for name in names)
    assert b"mangle" not in small
    assert b"Final" not in small, "the order of constants is that of a hash table"
    assert b"site-packages" not in small


def test_members_are_aligned_and_stored(exported: ExportedByCommand) -> None:
    with zipfile.ZipFile(exported.torchscript) as archive, exported.torchscript.open("rb") as stream:
        for member in archive.infolist():
            stream.seek(member.header_offset + 26)
            lengths = stream.read(4)
            start = (
                member.header_offset
                + 30
                + int.from_bytes(lengths[:2], "little")
                + int.from_bytes(lengths[2:], "little")
            )
            assert start % 64 == 0, member.filename
            assert member.compress_type == zipfile.ZIP_STORED


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/constants.pkl", b"x")
    content = (tmp_path / "x.pt").read_bytes()
    place = content.index(b"PK\x01\x02") + 8
    (tmp_path / "x.pt").write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(ArtifactError, match="not a whole TorchScript archive: .*encrypted"):
        FORMATS["torchscript"].read_embedded(tmp_path / "x.pt")


def test_a_web_page_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"<html>404</html>")
    with pytest.raises(ArtifactError, match="not a TorchScript archive but a web page"):
        FORMATS["torchscript"].read_embedded(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"text"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a whole TorchScript archive"):
        FORMATS["torchscript"].read_embedded(tmp_path / "x.pt")


def test_a_flipped_bit_is_found_without_a_manifest_beside_it(narrow_artifacts: ExportResult, tmp_path: Path) -> None:
    content = bytearray(narrow_artifacts.artifacts[1].path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "c3d.pt").write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged: its member archive/constants/.* fails its CRC"):
        load_artifact(tmp_path / "c3d.pt")


def test_a_plain_checkpoint_is_not_an_archive(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "c.pt")
    with pytest.raises(ArtifactError, match="not a TorchScript archive"):
        FORMATS["torchscript"].read_embedded(tmp_path / "c.pt")


@pytest.mark.parametrize("missing", ["memfd_create", "/proc"])
def test_the_bytes_are_the_same_without_files_in_memory(
    missing: str, narrow_artifacts: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "/proc":
        monkeypatch.setattr(paths, "DESCRIPTORS", tmp_path / "no proc")
    else:
        monkeypatch.delattr(os, missing, raising=False)
    (again,) = export(ExportRequest(("torchscript",), model=NARROW, output_dir=tmp_path, verify=False)).artifacts
    assert again.path.read_bytes() == narrow_artifacts.artifacts[1].path.read_bytes()
