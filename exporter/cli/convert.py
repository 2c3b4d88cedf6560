"""`c3d-export convert`: a checkpoint of any origin as safetensors."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.network_options import (
    geometry_options,
    labels_option,
    preprocess_options,
    selection_options,
    take_build_options,
)
from exporter.cli.options import json_options, limit_options
from exporter.cli.provenance_options import checkpoint_hash_option
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import PATH, parse_source
from exporter.requests import ConvertRequest


@click.command("convert", cls=SectionedCommand)
@click.argument("checkpoint", type=parse_source, metavar="FILE|URL")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="The .safetensors file to write.")
@selection_options
@geometry_options
@labels_option
@preprocess_options
@checkpoint_hash_option
@limit_options()
@json_options
def convert_command(checkpoint: str | Path, output: Path, as_json: bool, **options: Any) -> None:
    """Write a checkpoint as float32 safetensors with this project's names and axes.

    The file also records the source, the clip's size, the preprocessing, the class names and the pool5 convention, as
    far as they are known. A pool5 that was only assumed is not recorded: the converted file leaves it open as the
    checkpoint did (--pool5 settles it). It is read back and compared before it is published.

    \b
    Examples:
      c3d-export convert conv3d_deepnetA_sport1m_iter_1900000 -o c3d.safetensors
      c3d-export convert sports1M_weights_tf.h5 --layout c3d-keras-tf \\
          -o c3d.safetensors
    """
    from exporter.cli.given_files import check_given_files
    from exporter.output_targets import check_output_folder

    check_output_folder(output.parent, "--output")
    check_given_files(options | {"checkpoint": checkpoint})

    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.layouts import conversion_to_dict, print_conversion
    from exporter.workflows.convert import convert

    with progress_on_terminal() as progress:
        model = take_build_options(options | {"weights": checkpoint})
        result = convert(ConvertRequest(model, output), progress)
    show(result, conversion_to_dict, print_conversion, as_json=as_json)
