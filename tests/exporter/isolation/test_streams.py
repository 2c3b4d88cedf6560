"""What libraries print never mixes with what the tool prints."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.run import BIN, python

from exporter.isolation.streams import Chatter, accept_any_text, last_line

COMMAND = """
import logging, os, subprocess, sys, warnings
from pathlib import Path
import click
from exporter.cli.main import cli, main
from exporter.isolation.streams import user_stderr, user_stdout
from exporter.isolation.worker import native_call
from exporter.output_targets import write_file

@cli.command("noisy")
@click.option("--debug", is_flag=True)
def noisy(debug):
    print("print")
    print("print to stderr", file=sys.stderr)
    os.write(1, b"C on stdout\\n")
    os.write(2, b"C on stderr\\n" * 20_000)  # more than a pipe holds
    warnings.warn("a warning")
    logging.getLogger("of.theirs").error("a log record")
    subprocess.run(["sh", "-c", "echo child; echo child >&2"])
    print("result", file=user_stdout())
    print("progress", file=user_stderr())
    {end}

main()
"""


def noisy(end: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return python(COMMAND.format(end=end), "noisy", *arguments, cwd=cwd)


def test_libraries_and_their_processes_are_not_heard(tmp_path: Path) -> None:
    done = noisy("", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "result\n", "progress\n")
    failed = noisy("raise ValueError('broken')", cwd=tmp_path)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (70, "result\n", 2)


def test_debug_lets_libraries_be_heard(tmp_path: Path) -> None:
    done = noisy("", "--debug", cwd=tmp_path)
    assert done.stderr.count("C on stderr\n") == 20_000
    assert {"print", "C on stdout", "child", "result"} == set(done.stdout.splitlines())


def test_the_last_words_of_a_crash_are_in_the_line(tmp_path: Path) -> None:
    crash = "os.write(2, b'fatal: \\x1b[31mdivide by zero'); os.abort()"
    blamed = noisy(f"with native_call('their.so', 'm.onnx'): {crash}", cwd=tmp_path)
    assert blamed.returncode == 3
    words = r"(SIGABRT): fatal: \x1b[31mdivide by zero"
    assert blamed.stderr == f"progress\nError: m.onnx: their.so crashed on it {words}\n"
    memory = noisy("os.write(2, b'what():  std::bad_alloc'); os.abort()", cwd=tmp_path)
    assert memory.returncode == 5
    assert memory.stderr.startswith(
        "progress\nError: -c noisy: memory ran out while the command was at work (what():  std::bad_alloc); "
    )


@pytest.mark.parametrize(
    ("said", "code", "line"),
    [
        ("gave up", 3, "Error: m.onnx: their.so ended the process (exit code 1): gave up\n"),
        (
            "OpenBLAS error: Memory allocation still failed",
            5,
            "Error: m.onnx: memory ran out while their.so was at work ",
        ),
    ],
)
def test_a_library_that_ends_the_process_is_told_from_the_command(
    said: str, code: int, line: str, tmp_path: Path
) -> None:
    done = noisy(f"with native_call('their.so', 'm.onnx'): os.write(2, {said.encode()!r}); os._exit(1)", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (code, 2)
    assert done.stderr.startswith(f"progress\n{line}")


def test_a_report_can_be_written_to_stdout(tmp_path: Path) -> None:
    done = noisy("write_file(Path('/dev/stdout'), b'<xml/>', '--junit')", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "result\n<xml/>")


@pytest.mark.parametrize(
    ("printed", "words"),
    [(b"", ""), (b"\n \n", ""), (b"one\n  two \n\n", "two"), (b"\xff" * 3, "\ufffd" * 3), (b"x" * 1000, "x" * 300)],
)
def test_last_words(printed: bytes, words: str) -> None:
    assert last_line(printed) == words


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_descriptor_is_no_error(closed: str, tmp_path: Path) -> None:
    script = f"'{BIN}/c3d-export' inspect none {closed}; echo $? > code"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "code").read_text() == "3\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_encoding_of_the_output_takes_every_text(encoding: str, tmp_path: Path) -> None:
    name = os.fsdecode("動画-é-\N{PILE OF POO}".encode() + b"\xff")
    done = subprocess.run(
        [BIN / "c3d-export", "inspect", name, "--json"],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
        check=False,
    )
    assert done.returncode == 3
    shown = name.encode(encoding, "backslashreplace").decode(encoding)
    assert done.stderr.decode(encoding) == f"Error: no such file: {shown}\n"
    assert json.loads(done.stdout.decode("ascii"))["error"]["message"] == f"no such file: {name}"


def test_what_an_encoding_does_not_have_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", errors="strict"))
    monkeypatch.setattr(sys, "stderr", None)
    accept_any_text()
    sys.stdout.write("é")
    sys.stdout.flush()
    with sys.stderr:
        sys.stderr.write("é")
    assert raw.getvalue() == b"\\xe9"


def test_the_end_of_what_libraries_print_is_kept() -> None:
    chatter = Chatter()
    assert (chatter.read(), chatter.last_line()) == (True, "")
    os.write(chatter.writing, b"first\nlast\n")
    assert chatter.last_line() == "last"
    os.close(chatter.writing)
    assert (chatter.read(), chatter.last_line()) == (False, "last")
    os.close(chatter.reading)
