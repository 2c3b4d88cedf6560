"""An output that cannot be written is refused before the work, with the option and the reason."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter import output_targets
from exporter.errors import OutputError, UsageError
from exporter.full_disks import Disk
from exporter.output_targets import (
    check_distinct,
    check_output_file,
    check_output_folder,
    check_space,
    new_folder_notes,
    write_file,
)


def make(folder: Path) -> None:
    """What may be in the way."""
    (folder / "file").write_text("in the way")
    (folder / "folder").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "to-folder").symlink_to("folder")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/scores.csv", "there is no folder"),
        ("file/scores.csv", "there is no folder"),
        ("dangling/scores.csv", "there is no folder"),
        ("loop/scores.csv", "there is no folder"),
        ("folder", "it is a folder"),
        ("to-folder", "it is a folder"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null (byte|character)"),
        ("/proc/scores.csv", "no file can be created in /proc|Permission denied|no permission"),
    ],
)
def test_files_that_cannot_be_written(name: str, reason: str, tmp_path: Path) -> None:
    make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=rf"^--csv .*: cannot be written: .*({reason})"):
        check_output_file(tmp_path / name, "--csv")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["file", "new", "dangling", "loop", "to-folder/new", "x" * 255, "\udcff\n"])
def test_files_that_can_be_written(name: str, tmp_path: Path) -> None:
    """A link at the file's place is replaced; a folder may be a link."""
    make(tmp_path)
    before = sorted(tmp_path.iterdir())
    check_output_file(tmp_path / name, "--csv")
    assert sorted(tmp_path.iterdir()) == before
    write_file(tmp_path / name, b"scores", "--csv")
    assert (tmp_path / name).read_bytes() == b"scores"
    assert not (tmp_path / name).is_symlink()


def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("theirs")
    (tmp_path / "hard").hardlink_to(tmp_path / "theirs")
    for name in ("link", "hard"):
        write_file(tmp_path / name, b"ours", "--csv")
        assert (tmp_path / name).read_bytes() == b"ours"
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "it is a file, not a folder"),
        ("file/below/it", "file: it is a file, not a folder"),
        ("dangling", "it is a link that leads nowhere"),
        ("loop/below", "loop: it is a link that leads nowhere"),
        ("/proc/out", "no file can be created in /proc|no permission"),
        ("x/" * 3000, "File name too long"),
        ("a\0b", "null (byte|character)"),
        ("/dev/null/out", "/dev/null: it is a file, not a folder"),
    ],
)
def test_folders_that_cannot_be_written_to(name: str, reason: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(OutputError, match=rf"^-o .*: cannot be written to: .*({reason})"):
        check_output_folder(tmp_path / name, "-o")


def test_a_read_only_file_system_is_no_question_of_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly(NamedTuple):
        f_flag: int = os.ST_RDONLY

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly())
    with pytest.raises(OutputError, match="the file system is read-only"):
        check_output_folder(tmp_path, "-o")


@pytest.mark.parametrize("name", ["folder", "to-folder/new", "new/below"])
def test_folders_that_can_be_written_to_are_not_made_yet(name: str, tmp_path: Path) -> None:
    make(tmp_path)
    check_output_folder(tmp_path / name, "-o", ("c3d.onnx",))
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_folder_with_the_name_of_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "c3d.onnx").mkdir()
    with pytest.raises(OutputError, match="-o .*: c3d.onnx is a folder there"):
        check_output_folder(tmp_path, "-o", ("c3d.onnx.json", "c3d.onnx"))


def test_inputs_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bikes.mp4").write_bytes(b"a video")
    (tmp_path / "link.mp4").symlink_to("bikes.mp4")
    for name in ("bikes.mp4", "link.mp4"):
        with pytest.raises(UsageError, match=f"--csv .*{name}: is what the command reads"):
            check_output_file(tmp_path / name, "--csv", ["none.mp4", "https://host/a.mp4", str(tmp_path / "bikes.mp4")])


def test_two_options_do_not_name_one_file(tmp_path: Path) -> None:
    check_distinct({"--csv": tmp_path / "a", "--html": tmp_path / "b", "--junit": None, "--baseline": None})
    check_distinct({"--csv": "/dev/stdout", "--html": "/dev/stdout"})
    with pytest.raises(UsageError, match="--html .*: is the file of --csv as well"):
        check_distinct({"--csv": tmp_path / "a", "--html": f"{tmp_path}/./a"})


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_another_users_file_in_a_folder_like_tmp_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody may write into such a folder, and nobody may rename onto what is another user's."""
    (tmp_path / "scores.csv").touch()
    tmp_path.chmod(0o1777)
    check_output_file(tmp_path / "scores.csv", "--csv")
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    check_output_file(tmp_path / "new.csv", "--csv")
    with pytest.raises(OutputError, match="--csv .*: cannot be written: it belongs to another user"):
        check_output_file(tmp_path / "scores.csv", "--csv")


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(3 * 10**9, 10**9, 2 * 10**9))
    check_space(tmp_path / "new", 2 * 10**9, "c3d", "-o")
    with pytest.raises(
        OutputError, match="^-o .*new: .*c3d needs at least 2,001.0 MB, and 2,000.0 MB are free there .No space left on"
    ):
        check_space(tmp_path / "new", 2001 * 10**6, "c3d", "-o")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(4096, 4096, 0))
    with pytest.raises(OutputError, match="needs at least 512 bytes, and 0 bytes are free there"):
        check_space(tmp_path / "new", 512, "c3d", "-o")


def test_temporary_files_must_fit_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {1: 900, 2: 500}  # of two disks
    disks = {tmp_path: 1, tmp_path / "scratch": 2}
    monkeypatch.setattr(output_targets, "temporary_parent", lambda: tmp_path / "scratch")
    monkeypatch.setattr(
        output_targets, "find_disk", lambda folder: Disk(disks[folder], free[disks[folder]], total=10_000)
    )
    check_space(tmp_path, 900, "c3d", "-o", temporary=500)
    with pytest.raises(OutputError, match=r"^TMPDIR=.*scratch: .* needs at least 501 bytes, and 500 bytes are free"):
        check_space(tmp_path, 900, "c3d", "-o", temporary=501)
    disks[tmp_path / "scratch"] = 1
    check_space(tmp_path, 400, "c3d", "-o", temporary=500)
    with pytest.raises(OutputError, match=r"^-o .* needs at least 901 bytes, and 900 bytes are free"):
        check_space(tmp_path, 400, "c3d", "-o", temporary=501)


def test_a_folder_that_will_be_made_is_noted(tmp_path: Path) -> None:
    assert new_folder_notes(tmp_path) == ()
    assert new_folder_notes("memory://bucket/new") == ()
    assert new_folder_notes(tmp_path / "new") == (f"{tmp_path}/new is a new folder",)
    assert new_folder_notes(tmp_path / "a" / "b" / "c") == (f"{tmp_path}/a/b/c is a new folder, in {tmp_path}",)
    (tmp_path / "file").touch()
    assert new_folder_notes(tmp_path / "file" / "a" / "b") == new_folder_notes(tmp_path / "a\0" / "b") == ()


def test_a_full_disk_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(OutputError, match="--csv .*: cannot be written: No space left on device"):
        check_output_file(tmp_path / "scores.csv", "--csv")


WRITES_TO_STDOUT = """
import sys
from pathlib import Path
from exporter.output_targets import check_output_file, write_file
link = Path("link")
link.symlink_to("/dev/stdout")
print("first", flush=True)
for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", link):
    check_output_file(path, "--csv")
    write_file(path, f"{path}\\n".encode(), "--csv")
print("last")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_stdout_that_is_a_file_is_written_on_not_replaced(tmp_path: Path) -> None:
    """`> file` makes /dev/stdout look like that file."""
    before = Path("/dev/stdout").readlink()
    with (tmp_path / "printed").open("wb") as stream:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run(
            [sys.executable, "-c", WRITES_TO_STDOUT], stdout=stream, cwd=tmp_path, env=environment, check=True
        )
    assert (tmp_path / "printed").read_text() == "first\n/dev/stdout\n/dev/fd/1\n/proc/self/fd/1\nlink\nlast\n"
    assert Path("/dev/stdout").readlink() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "printed"]


def test_files_get_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "scores.csv", b"", "--csv")
    finally:
        os.umask(before)
    assert (tmp_path / "scores.csv").stat().st_mode & 0o777 == 0o640
