"""Errors are one line on stderr and an exit code, whatever raises them."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import small_models
from helpers.manifests import MANIFEST
from helpers.run import BIN, call

from exporter.artifacts.files import file_entry
from exporter.cli import main
from exporter.cli.error_handling import one_line, report_error
from exporter.errors import ArtifactError

BAD = {
    "missing weights": (["--format", "onnx", "--weights", "none.pth"], 3, "no such checkpoint: none.pth"),
    "output is a file": (
        ["--format", "onnx", "--no-verify", "--output-dir", "file"],
        3,
        "--output-dir file: cannot be written to: it is a file, not a folder",
    ),
    "output below a file": (
        ["--format", "onnx", "--no-verify", "--output-dir", "file/x"],
        3,
        "file: it is a file, not a folder",
    ),
    "no cuda": (["--format", "onnx", "--device", "cuda"], 4, "pip install 'onnxruntime-gpu"),
    "nothing to inspect": (["inspect", "none"], 3, "no such file: none"),
    "nothing to verify": (
        ["verify", "parity"],
        3,
        "no artifacts in ./artifacts; make one with c3d-export --format onnx",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_and_missing_devices_are_one_line(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, code, reported = BAD[case]
    (tmp_path / "file").write_text("in the way")
    done = call("c3d-export", *arguments, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (code, "")
    assert reported in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_json_has_the_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "inspect", "none", "--json", cwd=tmp_path, capture=capfd)
    assert json.loads(done.stdout) == {
        "error": {"kind": "ArtifactError", "message": "no such file: none", "exit_code": 3}
    }
    assert done.returncode == 3
    usage = call("c3d-export", "--json", "--format", "tflite", cwd=tmp_path, capture=capfd)
    assert json.loads(usage.stdout)["error"]["exit_code"] == 2


def test_debug_shows_the_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" in call("c3d-export", "inspect", "none", "--debug", cwd=tmp_path, capture=capfd).stderr
    assert "Traceback" not in call("c3d-export", "inspect", "none", cwd=tmp_path, capture=capfd).stderr


def piped(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`c3d-export …` whose reader goes away at once; what is printed is its exit code."""
    command = f"'{BIN}/c3d-export' {line} | true; echo ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("option", "code"), [("--json", "1"), ("", "0")])
def test_a_closed_pipe_changes_no_exit_code(option: str, code: str, tmp_path: Path) -> None:
    model = small_models.network(tmp_path / "m.onnx")
    if code == "1":
        (tmp_path / "m.onnx.json").write_text(replace(MANIFEST, name="m", files=(file_entry(model),)).to_json())
        model.write_bytes(model.read_bytes() + b"\x0a\x00")
    done = piped(f"inspect m.onnx {option}", tmp_path)
    assert (done.stdout, done.stderr) == (f"{code}\n", "")


def test_where_nothing_can_be_printed_the_exit_code_is_the_same(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        command = [str(BIN / "c3d-export"), "inspect", "none", "--json"]
        assert subprocess.run(command, cwd=tmp_path, stdout=full, stderr=full, check=False).returncode == 3


def test_a_standard_output_that_is_full_is_named(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        command = [str(BIN / "c3d-export"), "layouts"]
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("Error: ")
    assert done.stderr.endswith("the standard output\n")


def test_without_a_second_process_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(main, "supervise", refuse)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 3
    assert capfd.readouterr().err == f"Error: the operating system reports: [Errno 11] {os.strerror(errno.EAGAIN)}\n"


def test_an_unexpected_error_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr("exporter.workflows.inspect.inspect", fail)
    done = call("c3d-export", "inspect", "m.onnx", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (70, "")
    assert "ValueError: two lines" in done.stderr


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("the stream failed")])
def test_a_full_folder_for_temporary_files_is_named(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=60_000_000, used=0, free=0))
    assert report_error(error, as_json=False) == 3
    line = capfd.readouterr().err
    assert line.startswith(f"Error: cannot write temporary files to {tmp_path}: ")
    assert line.count("\n") == 1


def test_a_full_folder_for_temporary_files_is_also_a_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=60_000_000, used=0, free=0))
    assert report_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), as_json=True) == 3
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "OutputError"


def test_an_error_without_any_folder_for_temporary_files(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:  # pytest wants one at the end
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/none"])
        assert report_error(ArtifactError("no such file"), as_json=False) == 3
    assert capfd.readouterr().err == "Error: no such file\n"


def test_an_error_of_stdout_names_no_folder(capfd: pytest.CaptureFixture[str]) -> None:
    assert report_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), as_json=False) == 3
    stderr = capfd.readouterr().err
    assert stderr.startswith(f"Error: the operating system reports: [Errno 28] {os.strerror(errno.ENOSPC)}, ")
    assert stderr.count("\n") == 1


def test_control_characters_are_escaped() -> None:
    assert one_line(" a\abc\n  d ") == "a\\x07bc d"


def test_a_signal_while_modules_are_imported_is_no_error() -> None:
    lines = (
        "import os, signal, sys, types",
        "from exporter.cli.error_handling import _stop",
        "sys.modules['exporter.artifacts.store'] = types.ModuleType('store')",
        "_stop(os.getpid(), signal.SIGTERM, None)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "stopped by SIGTERM; no incomplete files are left\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_signal_to_a_process_that_a_library_forks_leaves_the_files_of_the_command(tmp_path: Path) -> None:
    command = (
        "import os, signal, time, click",
        "from pathlib import Path",
        "from exporter.cli.error_handling import run",
        "from models.temporary import scratch_folder",
        "@click.command()",
        "def fork():",
        "    folder = Path('scratch')",
        "    ready, write = os.pipe()",  # Python drops what a process receives while it is being forked
        "    with scratch_folder(folder):",
        "        if not (child := os.fork()):",
        "            os.write(write, b'1')",
        "            time.sleep(60)",
        "            os._exit(1)",
        "        os.read(ready, 1)",
        "        os.kill(child, signal.SIGTERM)",
        "        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), folder.is_dir())",
        "    print(folder.exists())",
        "run(fork, 'fork')",
    )
    lines = [sys.executable, "-c", "\n".join(command)]
    done = subprocess.run(lines, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "143 True\nFalse\n", "")
