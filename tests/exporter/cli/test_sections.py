"""`--help` lists every option once, under a heading that says what it is about."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers.run import python

from exporter.cli.main import COMMANDS as LINES
from exporter.cli.main import cli
from exporter.cli.sections import SECTIONS, SectionedCommand, SectionedGroup
from exporter.cli.values import Choice

MAX_UNDER_ONE_HEADING = 16


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for sub, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from commands(below, f"{name} {sub}")


COMMANDS = dict(commands(cli, "c3d-export"))


def listed(text: str) -> dict[str, list[str]]:
    """{heading: options} of a help text."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if re.fullmatch(r"\S.*:", line):
            heading = line[:-1]
        elif heading and (option := re.match(r"  (?:-\w, )?(--[\w-]+)", line)):
            found.setdefault(heading, []).append(option[1])
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_listed_once_under_a_heading(name: str) -> None:
    command = COMMANDS[name]
    text = CliRunner().invoke(command, ["--help"]).output
    found = listed(text)
    options = [max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)]
    assert sorted(option for group in found.values() for option in group) == sorted([*options, "--help"])
    assert max(map(len, found.values())) <= MAX_UNDER_ONE_HEADING
    assert isinstance(command, SectionedCommand | SectionedGroup)
    assert all(f"\n  {sub} " in text for sub in (command.commands if isinstance(command, click.Group) else ()))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(name: str) -> None:
    text = CliRunner().invoke(COMMANDS[name], ["--help"], terminal_width=80).output
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_help_of_the_group_imports_no_command(tmp_path: Path) -> None:
    code = """
import sys
from exporter.cli.main import COMMANDS, cli
cli.main(["--help"], standalone_mode=False)
assert not {f"exporter.cli.{name}" for name in COMMANDS} & {*sys.modules}
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed_lines = " ".join(done.stdout.split())
    assert [name for name, line in LINES.items() if f" {name} {line}" not in listed_lines] == []


@pytest.mark.parametrize("width", range(60, 81))
def test_lines_of_help_are_not_broken_in_names(width: int) -> None:
    helped = click.Option(["--own"], help=f"{'word ' * 8}torch-export/cpu-only c3d-export. " * 3)
    command = SectionedCommand("x", params=[helped], help="c3d-export --save-baseline: torch-export. " * 6)
    text = CliRunner().invoke(command, ["--help"], terminal_width=width).output
    assert text.count("torch-export") == 9
    assert [line for line in text.splitlines() if line.endswith("-") or len(line) > width] == []


def test_choices_that_do_not_fit_into_a_line_are_in_the_options_text() -> None:
    few, many = Choice(["a", "b"]), Choice([f"choice{number}" for number in range(10)])
    options = [click.Option(["--few"], type=few), click.Option(["--many"], type=many, help="Which.")]
    text = CliRunner().invoke(SectionedCommand("x", params=[*options]), ["--help"], terminal_width=80).output
    assert "--few [a|b]" in text
    assert "--many NAME" in text
    listed_choices = " ".join(text.split()).partition("Which. NAME: ")[2]
    assert listed_choices.startswith("choice0, choice1, ")
    assert "choice9." in listed_choices


def test_a_commands_own_headings_go_before_the_shared_ones() -> None:
    options = [click.Option(["--weights"]), click.Option(["--seed"]), click.Option(["--own"])]
    command = SectionedCommand("x", params=[*options], sections={"Drawing": ("seed",)})
    assert listed(CliRunner().invoke(command, ["--help"]).output) == {
        "Options": ["--own", "--help"],
        "Checkpoint": ["--weights"],
        "Drawing": ["--seed"],
    }


def test_no_heading_lists_an_option_that_no_command_has() -> None:
    known = {parameter.name for command in COMMANDS.values() for parameter in command.params}
    assert {name for names in SECTIONS.values() for name in names} - known <= {"with_preprocess"}


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (["exprot"], "--format"),
        (["export"], "--format"),
        (["ONNX"], "--format onnx"),
        (["predikt", "a.onnx"], "'predict'"),
        (["partiy"], "'verify parity'"),
        (["parity"], "'verify parity'"),
        (["verify", "self-tset"], "'self-test'"),
        (["bench", "--al"], "'--all'"),
        (["c3d.onnx"], "inspect FILE"),
        (["verify", "./c3d"], "verify parity FILE"),
    ],
)
def test_a_mistyped_command_names_the_one_that_is_meant(words: list[str], suggested: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert suggested in done.output.splitlines()[-1]


def test_a_word_like_no_command() -> None:
    done = CliRunner().invoke(cli, ["xyzzy"])
    assert (done.exit_code, done.output.splitlines()[-1]) == (2, "Error: No such command 'xyzzy'.")
