"""Every command on files whose names, and names inside, would control a terminal: nothing of that is printed raw."""

import csv
import json
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import small_models
from helpers.run import Done, call
from helpers.video_command import VideoCommand
from safetensors.numpy import save_file

from models.text import is_visible

EVIL = "=n\x1b[2J\x9b1A\r\nresult   passed\u202e\u2066\u200b\u2028\u3164\U000e0041[red]:warning:\\"
LONG = "w" * 70_000
ON_DISK = os.fsdecode(b"=evil\x1b[31m\n\xff") + "\u202e[bold]"
"""A file's name, which is not UTF-8."""
VALUES = ("x", "scores", "conv1", "relu1")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A model whose inputs, outputs, weights, nodes, producer, domain, documentation and file have hostile names."""
    path = small_models.network(tmp_path / "m.onnx", names={name: f"{name}{EVIL}" for name in VALUES})
    model = onnx.load(path)
    for number, made in enumerate(model.graph.node):
        made.name = f"{number}{EVIL}{LONG if number == 1 else ''}"
    model.producer_name = model.domain = model.doc_string = model.graph.name = EVIL
    model.opset_import.append(onnx.helper.make_opsetid(f"com.{EVIL}", 1))
    model.metadata_props.append(onnx.StringStringEntryProto(key=EVIL, value=EVIL))
    path.unlink()
    evil = tmp_path / f"=evil\x1b[31m\n\u202e[bold]{len(LONG)}.onnx"
    evil.write_bytes(model.SerializeToString())
    return evil


def require_clean(done: Done) -> None:
    """Check that only lines of visible characters were printed, none of them forged or without an end."""
    for printed in (done.stdout, done.stderr):
        hidden = {letter for letter in printed if letter != "\n" and not is_visible(letter)}
        assert not hidden
    assert not [line for line in done.stdout.splitlines() if line.startswith("result   passed\\u202e")]
    assert all(len(line) <= 500 for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr
    assert "this is a bug" not in done.stderr


def strings(value: object) -> Iterator[str]:
    """Yield every string of a JSON object."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)


COMMANDS = {
    "inspect": ("inspect", "{}"),
    "optimize": ("optimize", "{}", "-o", "new.onnx", "--explain", "--no-measure"),
    "triton": ("triton", "{}", "-o", "repository", "--name", "m"),
    "bad name": ("triton", "{}", "-o", "repository", "--name", EVIL),
    "bad option": ("inspect", "{}", f"--{EVIL}{LONG}"),
    "bad choice": ("optimize", "{}", "--optimize-for", EVIL + LONG),
    "bad shape": ("optimize", "{}", "--shape", EVIL + LONG),
    "unknown input": ("optimize", "{}", "--shape", f"{EVIL.replace(chr(10), '')}=1x3x8x8"),
    "no such file": ("inspect", f"{EVIL}{'x' * 100}.onnx"),
    "not an artifact": ("predict", "{}", f"{EVIL}.mp4"),
    "wrong weights": ("--format", "onnx", "--weights", "{}", "--no-verify"),
    "not a checkpoint": ("convert", "{}", "-o", "c.safetensors"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_what_commands_print_is_visible(
    case: str, hostile: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [hostile.name if part == "{}" else part for part in COMMANDS[case]]
    for options in ((), ("--json",)):
        done = call("c3d-export", *arguments, *options, cwd=tmp_path, capture=capfd)
        require_clean(done)
        if options:
            printed = json.loads(done.stdout)
            if case == "inspect":
                assert f"x{EVIL}" in "".join(strings(printed))  # whole, as it is
        elif case == "inspect":
            assert (
                r"x=n\x1b[2J\x9b1A\r\nresult   passed\u202e\u2066\u200b\u2028\u3164\U000e0041[red]:warning:"
                in done.stdout
            )
        shutil.rmtree(tmp_path / "repository", ignore_errors=True)


def test_reports_of_a_comparison_are_visible(hostile: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("parity", hostile.name, "--against", hostile.name, "--inputs", "random", "--localize")
    done = call("verify", *arguments, "--junit", "r.xml", "--html", "r.html", cwd=tmp_path, capture=capfd)
    require_clean(done)
    assert done.returncode == 0
    for report in ("r.xml", "r.html"):
        text = (tmp_path / report).read_text(encoding="utf-8")
        assert not [letter for letter in text if letter not in "\n\t" and not is_visible(letter)]
        assert "<red>" not in text
    assert len(list(ET.parse(tmp_path / "r.xml").iter("testcase"))) >= 1
    as_json = call("verify", *arguments, "--json", cwd=tmp_path, capture=capfd)
    require_clean(as_json)
    assert f"scores{EVIL}" in set(strings(json.loads(as_json.stdout)))


def test_names_of_tensors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_file({EVIL: np.zeros(3, np.float32), LONG: np.zeros(1, np.float32)}, tmp_path / "c.safetensors")
    for command in (("inspect", "c.safetensors"), ("--format", "onnx", "--weights", "c.safetensors")):
        done = call("c3d-export", *command, cwd=tmp_path, capture=capfd)
        require_clean(done)
        assert LONG[:2000] not in done.stdout
    as_json = call("c3d-export", "inspect", "c.safetensors", "--json", cwd=tmp_path, capture=capfd)
    require_clean(as_json)
    assert EVIL in "".join(strings(json.loads(as_json.stdout)))


def test_a_name_that_is_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small_models.network(tmp_path / "m.onnx").rename(tmp_path / f"{ON_DISK}.onnx")
    done = call("c3d-export", "inspect", f"{ON_DISK}.onnx", cwd=tmp_path, capture=capfd)
    require_clean(done)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith("not UTF-8, as ONNX wants names of files; rename it\n")


def test_names_of_videos_and_classes(video_command: VideoCommand) -> None:
    folder = video_command.folder
    video = folder / f"{ON_DISK}.mkv"
    shutil.copyfile(video_command.videos[0], video)
    (folder / f"{ON_DISK}.mp4").write_bytes(b"no video")
    (folder / "names.json").write_text(
        json.dumps(["=cmd|' /C calc'!A0", "\u202ereversed", "[red]x[/]", "e" + "\u0301" * 20, "-1.5"])
    )
    arguments = (f"{ON_DISK}.mkv", f"{ON_DISK}.mp4", "--labels", "names.json", "--top", "5")
    done = video_command.predict(*arguments, "--csv", "c.csv", "--html", "c.html", "--per-clip")
    require_clean(done)
    assert done.returncode == 3  # of the file that is no video
    table = (folder / "c.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert {row["class_name"] for row in rows} >= {"'=cmd|' /C calc'!A0", "\\u202ereversed", "-1.5"}
    assert {row["video"] for row in rows} == {"'=evil\\x1b[31m\\n\\udcff\\u202e[bold].mkv"}
    page = (folder / "c.html").read_text(encoding="utf-8")
    assert not [letter for letter in table + page if letter not in "\n\t" and not is_visible(letter)]
    as_json = video_command.predict(*arguments, "--json")
    require_clean(as_json)
    assert json.loads(as_json.stdout)["videos"][0]["source"] == f"{ON_DISK}.mkv"
    for options in ((), ("--json",)):
        require_clean(video_command.features(*arguments[:2], "-o", f"out{len(options)}", *options))
