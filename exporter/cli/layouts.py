"""`c3d-export checkpoints` and `c3d-export convert`: the origins known, and the way out of each."""

from pathlib import Path

import click

from exporter.cli.options import Source, json_options
from exporter.types import ConvertRequest
from models.config import POOL5_CONVENTIONS, Pool5
from models.options import BuildOptions


@click.command("layouts", short_help="Where C3D weights come from, and what is known of them.")
@json_options
def layouts_command(machine: bool) -> None:
    """List the origins whose checkpoints load: names, pool5 convention, preprocessing, and when --layout is needed."""
    from exporter.reports.console import echo, stdout
    from exporter.reports.json_report import dump
    from exporter.reports.layouts import origins_object, print_origins

    if machine:
        echo(dump(origins_object()))
    else:
        print_origins(stdout())


@click.command("convert", short_help="Write a checkpoint of any origin as safetensors.")
@click.argument("checkpoint", type=Source())
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The .safetensors to write."
)
@click.option(
    "--layout", default="auto", show_default=True, metavar="NAME", help="The checkpoint's origin, if not auto."
)
@click.option(
    "--pool5",
    type=click.Choice(POOL5_CONVENTIONS),
    default=None,
    help="pool5's convention, where the checkpoint's is not known or another is wanted.",
)
@json_options
def convert_command(checkpoint: str | Path, output: Path, layout: str, pool5: Pool5 | None, machine: bool) -> None:
    """Write CHECKPOINT under this project's names and axes, float32, with its pool5 convention and preprocessing.

    The file loads everywhere without a flag, and says where its weights came from. It is read back and compared before
    it is put in place.

    \b
    Examples:
      c3d-export convert conv3d_deepnetA_sport1m_iter_1900000 -o c3d.safetensors
      c3d-export convert sports1M_weights_tf.h5 --layout c3d-keras-tf -o c3d.safetensors
    """
    from exporter.reports.console import echo, progress_on_terminal, stdout
    from exporter.reports.json_report import dump
    from exporter.reports.layouts import converted_object, print_converted
    from exporter.workflows.convert import convert

    with progress_on_terminal() as progress:
        converted = convert(
            ConvertRequest(BuildOptions(weights=checkpoint, layout=layout, pool5=pool5), output), progress
        )
    if machine:
        echo(dump(converted_object(converted)))
    else:
        print_converted(converted, stdout())
