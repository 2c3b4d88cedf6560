"""Options that a message prints, read as the command line reads them."""

import shlex
from pathlib import Path

import click

from exporter.cli.network_options import geometry_options, selection_options, take_build_options
from models.options import BuildOptions


def parse_options(text: str, weights: Path) -> BuildOptions:
    """Read options as the command line reads them."""
    parsed: list[BuildOptions] = []

    @click.command()
    @selection_options
    @geometry_options
    def command(**options: object) -> None:
        parsed.append(take_build_options({**options, "weights": weights}))

    command.main(shlex.split(text), standalone_mode=False)
    return parsed[0]
