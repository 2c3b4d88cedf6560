"""`--timeout` and `--max-memory` are on every command that reads or runs a file, and end it."""

import os
import sys
from pathlib import Path

import click
import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.run import call, run

from exporter.cli.main import cli
from exporter.isolation import worker

COMMANDS = [cli, *(command for name, command in cli.commands.items() if name not in ("layouts", "verify"))]
COMMANDS += [*cli.commands["verify"].commands.values()]  # type: ignore[attr-defined] # pyright: ignore


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "v.pth"
    path.write_bytes(b"no checkpoint")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_that_reads_a_file_has_both(command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--timeout", "--max-memory"} <= options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--timeout", "-1"),
        ("--timeout", "nan"),
        ("--timeout", "1m"),
        ("--max-memory", "0"),
        ("--max-memory", "many"),
        ("--max-memory", "8"),
        ("--max-memory", "99MB"),
    ],
)
def test_what_is_no_limit_is_wrong_usage(
    option: str, value: str, video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call("c3d-export", "inspect", video, option, value, cwd=tmp_path, capture=capfd)
    assert done.returncode == 2
    assert option in done.stderr


def test_they_are_stated_for_the_supervisor(video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    board = worker.Board()
    worker.attach(board)
    try:
        arguments = ["inspect", video, "--timeout", "2.5", "--max-memory", "3GiB"]
        assert call("c3d-export", *arguments, cwd=tmp_path, capture=capfd).returncode == 3
    finally:
        worker.detach()
    state = board.read()
    assert state is not None
    assert (state.timeout, state.max_memory) == (2.5, 3 << 30)


@pytest.mark.parametrize("limit", [("--timeout", "1"), ("--max-memory", "1GB")])
def test_a_system_that_cannot_fork_refuses_them_and_does_the_rest(
    limit: tuple[str, str],
    video: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "fork")
    done = call("c3d-export", "inspect", video, *limit, cwd=tmp_path, capture=capfd)
    assert done.returncode == 4
    assert limit[0] in done.stderr
    assert call("c3d-export", "inspect", video, cwd=tmp_path, capture=capfd).returncode == 3


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_a_command_ends_at_its_limit(tmp_path: Path) -> None:
    torch.save(narrow_state(), tmp_path / "c3d.pth")  # a good one, which takes the import of torch: over a second
    done = run("c3d-export", "inspect", "c3d.pth", "--timeout", "0.05", cwd=tmp_path)
    assert done.returncode == 5
    assert "after 0.05 s (--timeout)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
