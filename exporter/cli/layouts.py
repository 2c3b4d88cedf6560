"""`c3d-export layouts`: the origins of checkpoints that load."""

import click

from exporter.cli.options import json_options
from exporter.cli.sections import SectionedCommand


@click.command(
    "layouts", cls=SectionedCommand, short_help="List the checkpoint origins that load, with their conventions."
)
@json_options
def layouts_command(as_json: bool) -> None:
    """List the origins of checkpoints that load: files, pool5 convention, preprocessing, and where --layout is needed.

    \b
    Examples:
      c3d-export layouts
      c3d-export layouts --json
    """
    from exporter.reports.console import show
    from exporter.reports.layouts import layouts_to_dict, print_layouts
    from models.checkpoints.layouts import LAYOUTS

    show(LAYOUTS, layouts_to_dict, print_layouts, as_json=as_json)
