"""`c3d-export`: exports by its own options, and carries the other commands."""

from pathlib import Path
from typing import Any, NoReturn, cast

import click

from exporter import __version__
from exporter.cli.bench import bench_command
from exporter.cli.error_handling import run
from exporter.cli.inspect import inspect_command
from exporter.cli.layouts import convert_command, layouts_command
from exporter.cli.optimize import optimize_command
from exporter.cli.options import Batch, Outputs, Seed, json_options, network_options, optimize_options, parity_options
from exporter.cli.verify import verify
from exporter.types import (
    DEFAULT_OPSET,
    FORMAT_NAMES,
    TARGETS,
    ExportRequest,
    FormatName,
    OptimizeOptions,
    ParityOptions,
)
from models.options import BuildOptions

HELP = """Export C3D to ONNX or TorchScript, and prove that the artifact answers as the network does.

Without a command, builds the network, writes the formats asked for, verifies each against the network in float64,
and publishes it with a manifest. An artifact that fails is not published.

\b
Examples:
  c3d-export --format onnx                                  random weights, artifacts/c3d.onnx
  c3d-export --format onnx --weights c3d-pretrained.pth     a checkpoint, its origin recognised
  c3d-export --format onnx --format torchscript --outputs logits,fc6
  c3d-export verify parity artifacts/c3d.onnx               verify again, here or elsewhere
  c3d-export inspect c3d-pretrained.pth                     what is this file? (runs nothing of it)
  c3d-export optimize other.onnx                            the same function, faster on a CPU
  c3d-export bench artifacts/c3d.onnx --engines               how fast, beside other engines
  c3d-export layouts                                    where C3D weights come from, and what is known of them
  c3d-export convert c3d.caffemodel -o c3d.safetensors      the same weights under this project's names

\b
Exit codes: 0 all well, 1 a check failed, 2 wrong usage, 3 a bad file or folder, 4 a device or library is missing.
"""


@click.group(invoke_without_command=True, no_args_is_help=True, help=HELP, context_settings={"max_content_width": 110})
@click.option("--format", "formats", type=click.Choice(FORMAT_NAMES), multiple=True, help="What to write. Repeatable.")
@network_options("random weights from --seed")
@click.option("--num-classes", type=int, default=None, help="fc8's outputs. [default: the checkpoint's, else 101]")
@click.option(
    "--new-head", is_flag=True, help="Initialise fc8 freshly where the checkpoint has none or another class count."
)
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of the initialisation.")
@click.option(
    "--outputs",
    type=Outputs(),
    default=None,
    help="What the artifact answers, by commas: logits, fc6, fc7, probabilities. [default: logits; fc7 where the "
    "checkpoint has no fc8]",
)
@click.option("--batch", type=Batch(), default="dynamic", show_default=True, help="A fixed batch size, or dynamic.")
@click.option("--opset", type=int, default=DEFAULT_OPSET, show_default=True, help="ONNX opset.")
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="portable",
    show_default=True,
    help="cpu also does what is only faster on CPUs.",
)
@optimize_options
@click.option("--external-data", is_flag=True, help="Keep ONNX weights in a file of their own.")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("artifacts"),
    show_default=True,
    help="Where the artifact lands; made if missing.",
)
@click.option("--name", default="c3d", show_default=True, help="File name, without suffix.")
@click.option("--no-verify", is_flag=True, help="Publish without verifying.")
@parity_options
@json_options
@click.version_option(__version__, prog_name="c3d-export")
@click.pass_context
def cli(context: click.Context, /, formats: tuple[FormatName, ...], machine: bool, **options: Any) -> None:
    """See HELP."""
    if context.invoked_subcommand is not None:
        given = [option.opts[0] for option in context.command.params if option.name and _is_given(context, option.name)]
        if given:
            raise click.UsageError(f"put options of {context.invoked_subcommand} after its name: {', '.join(given)}")
        return
    if not formats:
        raise click.UsageError(f"say what to write: --format {' or --format '.join(FORMAT_NAMES)}")
    _export(formats, machine, options)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _export(formats: tuple[FormatName, ...], machine: bool, options: dict[str, Any]) -> None:
    parity = ParityOptions(**{name: options.pop(name) for name in ("device", "clips", "allow_fallback", "cache")})
    build_names = ("weights", "layout", "num_classes", "batch_norm", "pool5", "seed", "new_head")
    optimize_names = ("target", "autotune", "optimize_for", "weight_dtype")
    request = ExportRequest(
        formats,
        model=BuildOptions(**{name: options.pop(name) for name in build_names}),
        optimize=OptimizeOptions(**{name: options.pop(name) for name in optimize_names}),
        verify=not options.pop("no_verify"),
        parity=parity,
        **options,
    )

    from exporter.reports.console import echo, print_exported, print_parity, progress_on_terminal, stdout
    from exporter.reports.json_report import dump, export_to_dict, parity_to_dict
    from exporter.workflows.export import ParityFailedError, export

    try:
        with progress_on_terminal() as progress:
            exported = export(request, progress)
    except ParityFailedError as error:
        if machine:
            echo(dump({"error": error.to_dict(), "parity": parity_to_dict(error.reports)}))
            error.reported = True
        else:
            for report in error.reports:
                print_parity(report, stdout())
        raise
    if machine:
        echo(dump(export_to_dict(exported)))
    else:
        print_exported(exported, stdout())


cli.add_command(verify)
cli.add_command(inspect_command)
cli.add_command(optimize_command)
cli.add_command(bench_command)
cli.add_command(layouts_command)
cli.add_command(convert_command)


def main() -> NoReturn:
    """Run `c3d-export`."""
    run(cli, "c3d-export")


def verify_main() -> NoReturn:
    """Run `verify`."""
    run(cast("click.Command", verify), "verify")
