"""The record of what this tool wrote here, and that no other code runs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.code_files import own
from helpers.run import call

from exporter import trust
from exporter.artifacts.files import sha256_file
from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.errors import ArtifactError, C3DExportError
from exporter.load_checks import Vouched
from exporter.trust import RECORD, describe_unrecorded, is_recorded, open_code, record_written, require_recorded
from exporter.types import FormatName
from exporter.workflows.export import ExportResult
from models.built_model import BuiltModel

A, B = "a" * 64, "b" * 64


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The record's file, which is not there yet."""
    monkeypatch.setenv("C3D_EXPORT_STATE", str(tmp_path / "state"))
    return tmp_path / "state" / RECORD


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that a malicious model file makes when its code runs."""
    return tmp_path / "executed"


class Writes(torch.nn.Module):
    """A network whose archive writes a file while it is loaded."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.marker, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.marker = state[0]
        self.training = state[1]
        torch.save(torch.ones(1), state[0])


class Touch:
    """An object whose pickle makes a file."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (self.marker, 0o700)


def write_script(folder: Path, marker: Path) -> Path:
    path = folder / "theirs.pt"
    torch.jit.save(torch.jit.script(Writes(str(marker))), str(path))
    return path


def write_program(folder: Path, marker: Path) -> Path:
    """A valid program in which a constant is a pickle."""
    path, clean = folder / "theirs.pt2", folder / "clean.pt2"

    class Adds(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("one", torch.ones(2), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.get_buffer("one")

    torch.export.save(torch.export.export(Adds().eval(), (torch.ones(2),)), clean)
    evil = folder / "evil"
    torch.save({"one": Touch(str(marker))}, evil)
    with zipfile.ZipFile(clean) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("constants_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
                content = content.replace(b'"use_pickle":false', b'"use_pickle":true')
            elif "/constants/" in member.filename:
                content = evil.read_bytes()
            new.writestr(member, content)
    return path


def write_package(folder: Path, marker: Path) -> Path:
    """An AOTInductor package whose library makes a file when it is loaded."""
    source, library, path = folder / "evil.c", folder / "evil.so", folder / "theirs.aoti.pt2"
    run = f'__attribute__((constructor)) static void run(void) {{ mkdir("{marker}", 0700); }}'
    source.write_text(f"#include <sys/stat.h>\n{run}\n")
    subprocess.run([str(shutil.which("cc")), "-shared", "-fPIC", "-o", library, source], check=True)
    members = {
        "data/aotinductor/model/m.wrapper_metadata.json": b'{"AOTI_DEVICE_KEY": "cpu"}',
        "data/aotinductor/model/m.wrapper.so": library.read_bytes(),
        "archive_format": b"pt2",
        "archive_version": b"0",
        "byteorder": b"little",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return path


WRITERS = {"torchscript": write_script, "pt2": write_program, "pt2-aoti": write_package}
COMPILED = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler; apt-get install gcc")
FORMATS = ("torchscript", "pt2", pytest.param("pt2-aoti", marks=COMPILED))


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("form", FORMATS)
def test_code_of_others_runs_only_where_it_is_trusted(form: FormatName, tmp_path: Path, marker: Path) -> None:
    path = WRITERS[form](tmp_path, marker)
    marker.unlink(missing_ok=True)  # made while the file was written
    with pytest.raises(ArtifactError, match=r"is code, and there is no record .*--trust"):
        find_engine(form).open(path, RuntimeOptions()).load()
    assert not marker.exists()
    with contextlib.suppress(C3DExportError):  # what its code leaves behind need not be a network
        find_engine(form).open(path, RuntimeOptions(vouched=Vouched(everything=True))).load()
    assert marker.exists()  # so the file is what it is meant to be


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("form", FORMATS)
def test_every_command_refuses_code_of_others(
    form: FormatName, narrow: BuiltModel, tmp_path: Path, marker: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = WRITERS[form](tmp_path, marker)
    marker.unlink(missing_ok=True)
    # What is not there, or is no checkpoint, is refused first.
    torch.save(narrow.network.state_dict(), tmp_path / "c3d.pth")
    (tmp_path / "bikes.mp4").touch()
    commands = (
        ("verify", "parity", path),
        ("verify", "parity", path, "--weights", "c3d.pth"),
        ("verify", "parity", path, "--against", path),
        ("c3d-export", "predict", path, "bikes.mp4"),
        ("c3d-export", "features", path, "bikes.mp4"),
        ("c3d-export", "bench", path),
        ("c3d-export", "triton", path),
    )
    for command in commands:
        done = call(*map(str, command), cwd=tmp_path, capture=capfd)
        assert done.returncode == 3, command
        assert "is code, and there is no record" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert call("c3d-export", "inspect", path, cwd=tmp_path, capture=capfd).returncode == 0
    assert not marker.exists()


OTHERS = (
    (3, ("verify", "parity", "theirs.onnx", "--against")),
    (2, ("verify", "self-test")),
    (1, ("verify", "integrity", "--deep")),
    (3, ("c3d-export", "optimize")),
    (3, ("c3d-export", "convert", "-o", "x.safetensors")),
    (3, ("c3d-export", "--format", "onnx", "--weights")),
    (3, ("c3d-export", "bench", "--all")),
    (3, ("c3d-export", "bench", "theirs.onnx", "--engines", "--engine-model")),
)
"""Commands for other files, with the exit code where they are given code."""


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("form", FORMATS)
def test_commands_for_other_files_do_not_run_it_either(
    form: FormatName, theirs: Path, tmp_path: Path, marker: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = WRITERS[form](tmp_path, marker)
    marker.unlink(missing_ok=True)
    found = [call(*command, path, cwd=theirs.parent, capture=capfd) for _, command in OTHERS]
    assert not marker.exists()
    assert [done.returncode for done in found] == [code for code, _ in OTHERS]
    assert all(len(done.stderr.splitlines()) <= 4 for done in found)


def test_what_was_published_here_may_run_and_nothing_else(narrow_artifacts: ExportResult, tmp_path: Path) -> None:
    script = narrow_artifacts.artifacts[1].path
    copy = tmp_path / "renamed.pt"
    copy.write_bytes(script.read_bytes())
    with open_code(copy, "code", Vouched()) as stream:  # wherever it is now
        assert stream.read() == script.read_bytes()
    copy.write_bytes(script.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match="there is no record that this tool wrote it"):
        open_code(copy, "code", Vouched())
    with open_code(copy, "code", Vouched(sha256=(sha256_file(copy),))) as stream:
        assert stream.read(4) == b"PK\x03\x04"


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no files in memory here")
def test_what_is_loaded_is_what_was_hashed(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(b"ours")
    with open_code(own(path), "code", Vouched()) as stream:
        path.write_bytes(b"them")  # in place, while it is open
        assert stream.read() == b"ours"
        with pytest.raises(PermissionError):
            os.write(stream.fileno(), b"them")


def test_the_record_keeps_the_newest(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MAX_RECORDED", 4)
    hashes = [f"{number:064x}" for number in range(20)]
    for sha256 in hashes:
        record_written([sha256])
        assert is_recorded(sha256)
    assert len(record.read_bytes().splitlines()) <= 8
    assert all(map(is_recorded, hashes[-4:]))
    assert not is_recorded(hashes[0])


def test_a_record_that_others_may_write_is_none(record: Path) -> None:
    record_written([A])
    assert is_recorded(A)
    assert not is_recorded(B)
    assert not is_recorded("")
    assert record.stat().st_mode & 0o077 == 0
    record.chmod(0o622)
    assert not is_recorded(A)


def test_a_torn_line_is_no_hash(record: Path) -> None:
    record_written([A])
    record.write_bytes(record.read_bytes() + b"b" * 30)
    record_written([B])
    assert is_recorded(A)
    assert not is_recorded(B)  # it then needs --trust, which is safe
    record_written([B])
    assert is_recorded(B)


def test_a_folder_that_cannot_be_written_is_no_error(record: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    record_written([A])
    assert not is_recorded(A)
    assert not record.exists()


def test_a_record_that_has_become_larger_is_read_from_its_end_and_made_small(record: Path) -> None:
    record_written([A])
    with record.open("r+b") as stream:
        stream.truncate(1 << 34)  # a hole
        stream.seek(0, os.SEEK_END)
        stream.write(b"\n")
    record_written([B])
    assert is_recorded(B)
    assert not is_recorded(A)
    assert record.stat().st_size < 1 << 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_in_place_of_the_record_is_no_record_and_is_not_waited_for(record: Path) -> None:
    record.parent.mkdir()
    os.mkfifo(record)
    record_written([A])
    assert not is_recorded(A)


def test_what_cannot_be_recorded_is_told_when_it_is_written_and_when_it_is_refused(record: Path) -> None:
    record.parent.write_text("a file, where the folder should be")
    record_written([A])
    (note,) = describe_unrecorded("torchscript", "c3d.pt", A)
    assert "need --trust" in note
    assert str(record.parent) in note
    assert describe_unrecorded("onnx", "c3d.onnx", A) == ()
    with pytest.raises(ArtifactError, match=re.escape(f"there is no record in {record.parent}")):
        require_recorded(Path("c3d.pt"), "a TorchScript archive", A)


def test_nothing_is_told_of_what_is_recorded(record: Path) -> None:
    record_written([A])
    assert describe_unrecorded("torchscript", "c3d.pt", A) == ()
