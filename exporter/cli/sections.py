"""`--help` lists a command's options under headings: click itself has one flat list."""

from __future__ import annotations

import difflib
from collections import UserDict
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

import click

from exporter.cli.values import Choice
from exporter.isolation.streams import separate_library_output
from exporter.types import FORMAT_NAMES

Sections = Mapping[str, Sequence[str]]
"""{heading: names of options}, in the order of display."""

SECTIONS: Sections = MappingProxyType(
    {
        "Options": (),
        "Checkpoint": ("weights", "layout", "key", "prefix", "ema", "ignore", "key_map"),
        "Network": ("batch_norm", "pool5", "input_size", "variant", "num_classes", "new_head"),
        "Artifact": ("formats", "outputs", "batch", "opset", "external_data", "output_dir", "name"),
        "Video": ("preprocess", "mean", "with_preprocess", "labels", "window", "step", "short"),
        "Rewriting for speed or size": ("target", "autotune", "optimize_for", "weight_dtype", "explain", "decisions"),
        "Precision": ("precision", "min_snr", "min_top1", "calibration_clips", "calibration_samples"),
        "Inputs": ("input_types", "samples", "batch_size", "clips", "shapes", "feeds", "arrays", "seed"),
        "Comparison": (
            *("no_verify", "cache", "against", "pairs", "rtol", "atol", "fail_fast", "localize", "determinism"),
            *("baseline", "save_baseline", "max_growth"),
        ),
        "Engine": ("engine", "device", "threads", "allow_fallback", "runner", "ray_address", "workers"),
        "Limits": ("timeout", "max_memory"),
        "Provenance": ("expect_sha256", "sign_key", "verify_keys", "trust"),
        "Reports": ("as_json", "csv", "html", "junit", "debug", "version"),
    }
)
"""The headings of options that several commands share. An option that is in no list is the command's own: Options."""


FILE_COMMANDS = (
    "A file follows a command: c3d-export inspect FILE, verify parity FILE, bench FILE, predict FILE VIDEO; "
    "to export a checkpoint: c3d-export --format onnx --weights FILE"
)
"""What is meant by a file in the place of a command."""
MAX_OPTION = 70
"""Characters of an option with its choices that a line of a terminal of 80 columns holds."""


NON_BREAKING_HYPHEN = "\N{NON-BREAKING HYPHEN}"


class WholeNamesFormatter(click.HelpFormatter):
    """Breaks the lines of `--help` between words only: click, which has no option for that, breaks at hyphens too."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(text.replace("-", NON_BREAKING_HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names, each with its text."""
        super().write_dl([(name, text.replace("-", NON_BREAKING_HYPHEN)) for name, text in rows], col_max, col_spacing)

    def write(self, string: str) -> None:
        """Write a string as it is."""
        super().write(string.replace(NON_BREAKING_HYPHEN, "-"))


class LibraryOutputContext(click.Context):
    """A context in which a command runs with its libraries' output kept from stdout and stderr; `--help` is printed."""

    formatter_class = WholeNamesFormatter

    def invoke(self, callback: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a command's function."""
        with separate_library_output():
            return super().invoke(callback, *args, **kwargs)


class LazyCommands(UserDict[str, click.Command]):
    """The commands of a group, each imported when it is looked up: `--help` of the group needs none of them.

    Args:
        lines: {command: its line in that help}. A command is the function `NAME_command` of the module `NAME` here.
    """

    data: dict[str, Any]
    """{command: itself, or its line where it was not looked up yet}."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        super().__init__()
        self.lines, self.data = lines, {**lines}

    def __getitem__(self, name: str) -> click.Command:
        """Return a command.

        Raises:
            KeyError: there is none of that name.
        """
        if isinstance(self.data[name], str):
            self.data[name] = getattr(import_module(f"exporter.cli.{name}"), f"{name}_command")
        return self.data[name]


class SectionedCommand(click.Command):
    """A command whose `--help` lists its options by `SECTIONS`, each with its default.

    Args:
        sections: headings of this command's own, or that its options have in place of those of `SECTIONS`.
    """

    context_class = LibraryOutputContext

    def __init__(self, *args: Any, sections: Sections | None = None, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.sections = sections or {}
        self.context_settings.update(max_content_width=110, show_default=True)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, then the commands of a group."""
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*SECTIONS, *self.sections)}
        headings = {
            name: heading for row in (SECTIONS, self.sections) for heading, names in row.items() for name in names
        }
        for parameter in self.get_params(ctx):
            record = _record(parameter, ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                rows[headings.get(parameter.name or "", "Options")].append(record)
        for heading, records in rows.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)


class SectionedGroup(SectionedCommand, click.Group):
    """A group of commands that has options of its own; see `SectionedCommand`."""

    command_class = SectionedCommand

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with its line."""
        if isinstance(self.commands, LazyCommands):
            with formatter.section("Commands"):
                formatter.write_dl(sorted(self.commands.lines.items()))
        else:
            super().format_commands(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with.

        Raises:
            NoSuchCommand: there is none; click names one that is spelt alike, this one of a group below, or `--format`
                for a word like `export`, which is no command; for a file, the commands that take one.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            below = self._commands_below()
            if (args[0] in below or not error.possibilities) and (hint := self._suggest(args[0], below)):
                raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx) from error
            raise

    def _commands_below(self) -> dict[str, str]:
        """Return {command of a group of this one: the group's name}."""
        groups = [(name, group) for name, group in self.commands.items() if isinstance(group, click.Group)]
        return {command: name for name, group in groups for command in group.commands}

    def _suggest(self, word: str, below: Mapping[str, str]) -> str:
        if found := difflib.get_close_matches(word, below, 1):
            return f"Did you mean '{below[found[0]]} {found[0]}'?"
        exports = any(option.name == "formats" for option in self.params)
        if exports and word.lower() in FORMAT_NAMES:
            return f"To export: c3d-export --format {word.lower()}"
        if "." in word or "/" in word:
            return FILE_COMMANDS if exports else "A file follows a command: verify parity FILE, verify integrity FILE"
        return "To export: c3d-export --format onnx" if exports and difflib.get_close_matches(word, ["export"]) else ""


def _record(option: click.Option, context: click.Context) -> tuple[str, str] | None:
    """Return an option's help record; choices that would not fit into a line are listed in its text."""
    record = option.get_help_record(context)
    if record is None or len(record[0]) <= MAX_OPTION or not isinstance(option.type, Choice):
        return record
    choices: Sequence[str] = option.type.choices
    names = record[0].partition(" [")[0]
    return f"{names} NAME", f"{record[1].rstrip()} NAME: {', '.join(choices)}."
