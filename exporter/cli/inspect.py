"""`c3d-export inspect`: what is this file?"""

from pathlib import Path

import click

from exporter.cli.options import Source, json_options


@click.command("inspect", short_help="What is this file? Runs nothing of it.")
@click.argument("file", type=Source())
@json_options
@click.pass_context
def inspect_command(context: click.Context, file: str | Path, machine: bool) -> None:
    """Tell what FILE is, an artifact or a checkpoint, without running anything of it.

    Of an artifact: hashes, producer, signature, tensors, and whether the manifest beside it describes it (exit code 1
    if not). Of a checkpoint: its origin, class count, tensors, conventions, and how it loads.

    \b
    Examples:
      c3d-export inspect artifacts/c3d.onnx
      c3d-export inspect c3d-pretrained.pth --json
      c3d-export inspect hf://owner/repo/c3d.safetensors
    """
    from exporter.reports.console import echo, print_inspection, progress_on_terminal, stdout
    from exporter.reports.json_report import dump, inspection_object
    from exporter.workflows.inspect import inspect

    with progress_on_terminal() as progress:
        inspection = inspect(file, progress)
    if machine:
        echo(dump(inspection_object(inspection)))
    else:
        print_inspection(inspection, stdout())
    context.exit(1 if inspection.integrity not in (None, "ok") else 0)
