"""`c3d-export layouts`: the origins of checkpoints that load, and the preprocessing profiles."""

import click

from exporter.cli.options import json_options
from exporter.cli.sections import SectionedCommand
from exporter.isolation.streams import user_stdout


@click.command("layouts", cls=SectionedCommand)
@click.option("--profiles", is_flag=True, help="List the preprocessing profiles instead.")
@click.option(
    "--profile",
    metavar="NAME",
    help="Print this profile as JSON, to edit and to give as --preprocess FILE.",
)
@json_options
def layouts_command(profiles: bool, profile: str | None, as_json: bool) -> None:
    """List the origins of checkpoints that load: files, pool5 convention, preprocessing, and where --layout is needed.

    \b
    Examples:
      c3d-export layouts
      c3d-export layouts --json
      c3d-export layouts --profiles
      c3d-export layouts --profile mmaction2 > mine.json
    """
    from exporter.reports.console import show
    from exporter.reports.layouts import layouts_to_dict, print_layouts, print_profiles, profiles_to_dict
    from models.checkpoints.layouts import LAYOUTS
    from models.preprocessing.files import find_profile, format_profile

    if profile is not None:
        user_stdout().write(format_profile(find_profile(profile)))
    elif profiles:
        show(LAYOUTS, profiles_to_dict, print_profiles, as_json=as_json)
    else:
        show(LAYOUTS, layouts_to_dict, print_layouts, as_json=as_json)
