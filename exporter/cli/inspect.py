"""`c3d-export inspect`: what a file is."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.network_options import geometry_options, selection_options, take_build_options
from exporter.cli.options import json_options, limit_options, take
from exporter.cli.provenance_options import artifact_hash_option, verify_key_option
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import parse_source
from exporter.load_checks import LoadChecks


@click.command("inspect", cls=SectionedCommand)
@click.argument("file", type=parse_source, metavar="FILE|URL")
@selection_options
@geometry_options
@verify_key_option
@artifact_hash_option
@limit_options()
@json_options
@click.pass_context
def inspect_command(context: click.Context, file: str | Path, as_json: bool, **options: Any) -> None:
    """Describe FILE, an artifact or a checkpoint, without running anything in it.

    Of an artifact: hashes, producer, signature, tensors, and whether it is the file that the manifest beside it
    describes (exit code 1 if not). Of a checkpoint: the networks in it, origin, class count, tensors, conventions,
    whether it loads, and the command that exports it.

    \b
    Examples:
      c3d-export inspect artifacts/c3d.onnx
      c3d-export inspect c3d-pretrained.pth --json
      c3d-export inspect hf://owner/repo/c3d.safetensors
    """
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.inspection import inspection_to_dict, print_inspection
    from exporter.workflows.inspect import inspect

    with progress_on_terminal() as progress:
        checks = take(LoadChecks, options)
        inspection = inspect(file, progress, take_build_options(options), checks)
    show(inspection, inspection_to_dict, print_inspection, as_json=as_json)
    context.exit(1 if inspection.integrity not in (None, "ok") else 0)
