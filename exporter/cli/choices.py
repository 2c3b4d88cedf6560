"""Options with a fixed list of values."""

from __future__ import annotations

import re
from typing import Any

import click

from models.errors import did_you_mean


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
