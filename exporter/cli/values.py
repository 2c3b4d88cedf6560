"""Values of options and arguments: one of a fixed list, a path or an address; none of them empty."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from models.errors import did_you_mean

EMPTY = "is empty; is a variable of the shell not set?"


class GivenPath(click.Path):
    """A path that is not empty: `Path("")` would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            click.BadParameter: it is empty.
        """
        if value == "":
            self.fail(EMPTY, param, ctx)
        return super().convert(value, param, ctx)


PATH = GivenPath(path_type=Path)
"""A path that the library checks itself, so that a missing file has one exit code everywhere."""


def parse_source(value: str | Path) -> str | Path:
    """Return a URL unchanged, which a path would not survive (`//` becomes `/`), and anything else as a path.

    Raises:
        click.BadParameter: it is empty.
    """
    if value == "":
        raise click.BadParameter(EMPTY)
    return value if isinstance(value, Path) or "://" in value else Path(value)


def parse_names(value: str) -> tuple[str, ...]:
    """Return names separated by commas; the library checks them.

    Raises:
        click.BadParameter: a name is empty.
    """
    names = tuple(name.strip() for name in value.split(","))
    if not all(names):
        raise click.BadParameter(f"{value!r} has an empty name" if value else EMPTY)
    return names


class WholeNumber(click.IntRange):
    """A whole number within bounds: click's error of another text calls it an "integer range"."""

    name = "integer"


class Choice(click.Choice[str]):  # noqa: TID251 - this is the one
    """A value of a fixed list; the error of another says how to give several, or names the most similar one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value.

        Raises:
            click.BadParameter: it is not in the list.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.removesuffix('.')}{self._hint(str(value), param)}", param, ctx)

    def _hint(self, value: str, param: click.Parameter | None) -> str:
        several = [part for part in re.split(r"[\s,;+]+", value) if part]
        if len(several) > 1 and {part.lower() for part in several} <= set(self.choices) and param is not None:
            option = param.opts[0]
            if param.multiple:
                return f"; give {option} for each: {' '.join(f'{option} {part.lower()}' for part in several)}"
            return f"; a run takes one of them, such as {option} {several[0].lower()}"
        return did_you_mean(value, self.choices)
