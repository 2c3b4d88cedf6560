"""Paths and addresses as options and arguments take them: none of them empty."""

from pathlib import Path
from typing import Any

import click

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
