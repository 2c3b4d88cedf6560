"""`c3d-export`: exports by its own options, and has the other commands as subcommands."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from exporter import __version__
from exporter.cli.error_handling import report_error, report_outcome, run
from exporter.cli.network_options import (
    head_options,
    labels_option,
    network_options,
    preprocess_options,
    take_build_options,
)
from exporter.cli.options import (
    device_options,
    is_given,
    json_options,
    limit_options,
    optimize_options,
    parse_batch,
    parse_outputs,
    seed_option,
    take,
)
from exporter.cli.precision_options import precision_options, take_precision_options
from exporter.cli.provenance_options import checkpoint_hash_option, read_signing_key, sign_key_option
from exporter.cli.sections import LazyCommands, SectionedGroup
from exporter.cli.values import PATH, Choice
from exporter.isolation import streams
from exporter.isolation.supervisor import supervise
from exporter.types import (
    DEFAULT_OPSET,
    FORMAT_NAMES,
    TARGETS,
    BatchProfile,
    FormatName,
    OptimizeOptions,
    ParityOptions,
)
from models.config import OUTPUTS

OPSET_FORMATS: frozenset[FormatName] = frozenset({"onnx", "openvino", "tensorrt"})
"""Formats that an ONNX graph is written for or converted to."""
HELP = """Export C3D to ONNX and other formats, and verify that the artifact returns what the network returns.

Without a command: build the network, write it in each --format, compare each file with the network in float64, and
publish it with a manifest. A file that fails the comparison is not published.

\b
Examples:
  c3d-export --format onnx                          random weights
  c3d-export --format onnx --weights c3d.pth        a checkpoint of any origin
  c3d-export --format onnx --format torchscript --outputs logits,fc6
  c3d-export --format openvino --precision int8 --calibrate videos/ \\
      --weights c3d.pth
  c3d-export bench --all --weights c3d.pth          compare all formats
  c3d-export verify parity artifacts/c3d.onnx       verify again, anywhere
  c3d-export verify integrity                       compare files with hashes
  c3d-export inspect c3d.pth                        describe a file
  c3d-export predict artifacts/c3d.onnx video.mp4   the classes of a video
  c3d-export features artifacts/c3d.onnx videos/    fc6 features, in files
  c3d-export optimize other.onnx                    make any ONNX model faster
  c3d-export bench artifacts/c3d.onnx --engines     measure other engines too
  c3d-export layouts                                the origins that load
  c3d-export convert c3d.caffemodel -o c3d.safetensors
  c3d-export sign artifacts/c3d.onnx --sign-key sign.key
  c3d-export triton artifacts/c3d.onnx -o model_repository

Exit codes: 0 success, 1 a check failed, 2 wrong usage, 3 a bad file or folder, 4 a device or library is missing, 5 more
than --timeout or --max-memory, 70 a bug in c3d-export, 128 + n stopped by signal n.
"""

COMMANDS = {
    "bench": "Measure latency, throughput, load time and memory side by side.",
    "convert": "Write a checkpoint of any origin as safetensors.",
    "features": "Write the features of videos to files.",
    "inspect": "Describe a checkpoint or an artifact without running it.",
    "layouts": "List the checkpoint origins that load, and the preprocessing profiles.",
    "optimize": "Make any ONNX model faster on a CPU without changing its function.",
    "predict": "Run a model over videos and print the highest classes.",
    "sign": "Sign artifacts without exporting them again.",
    "triton": "Write an artifact as a model of a Triton Inference Server repository.",
    "verify": "Check outputs (parity), files (integrity), the check (self-test).",
}
"""{command: its line in `--help`}."""


@click.group(
    cls=SectionedGroup,
    commands=LazyCommands(COMMANDS),
    sections={"Network": ("seed",), "Video": ("labels",)},
    invoke_without_command=True,
    no_args_is_help=True,
    help=HELP,
)
@click.option("--format", "formats", type=Choice(FORMAT_NAMES), multiple=True, help="Format to write. Repeatable.")
@network_options("random weights from --seed")
@head_options
@labels_option
@preprocess_options
@seed_option("Seed of the initialisation.")
@click.option(
    "--outputs",
    type=parse_outputs,
    metavar="NAMES",
    help=f"What the artifact returns, separated by commas: {', '.join(OUTPUTS)}. [default: logits, or the "
    "last layer's features if the checkpoint has no fc8]",
)
@click.option(
    "--batch",
    type=parse_batch,
    default="dynamic",
    metavar="N",
    help="A fixed batch size, or dynamic. 8:32: a TensorRT engine for 1 to 32 clips, fastest at 8.",
)
@click.option("--opset", type=int, default=DEFAULT_OPSET, help="ONNX opset.")
@click.option(
    "--target",
    type=Choice(TARGETS),
    default="portable",
    help="cpu also applies rewrites that are faster only on CPUs, cuda those for onnxruntime's CUDA provider.",
)
@optimize_options
@precision_options
@click.option(
    "--with-preprocess",
    is_flag=True,
    help="Put resizing, cropping and normalisation into the artifact: its input is then frames, uint8 "
    "(N, T, height, width, 3) RGB of any height and width.",
)
@click.option("--external-data", is_flag=True, help="Store ONNX weights in a separate file.")
@click.option(
    "-o",
    "--output-dir",
    type=PATH,
    default=Path("artifacts"),
    help="Folder to write to; created if missing, with its parents.",
)
@click.option("--name", default="c3d", help="File name without suffix.")
@click.option("--no-verify", is_flag=True, help="Publish without verifying.")
@checkpoint_hash_option
@sign_key_option()
@device_options
@limit_options()
@json_options
@click.version_option(__version__, prog_name="c3d-export")
@click.pass_context
def cli(
    context: click.Context, /, formats: tuple[FormatName, ...], no_verify: bool, as_json: bool, **options: Any
) -> None:
    """See HELP."""
    if context.invoked_subcommand is not None:
        given = [option.opts[0] for option in context.command.params if is_given(context, option.name or "")]
        if given:
            raise click.UsageError(f"put options of {context.invoked_subcommand} after its name: {', '.join(given)}")
        return
    if not formats:
        raise click.UsageError(f"choose a format: --format {' or --format '.join(FORMAT_NAMES)}")
    if is_given(context, "opset") and OPSET_FORMATS.isdisjoint(formats):
        raise click.UsageError("--opset is an option of --format onnx")
    if isinstance(options["batch"], BatchProfile):
        options["batch"], options["batch_profile"] = None, options["batch"]
    from exporter.requests import ExportRequest

    request = ExportRequest(
        formats,
        model=take_build_options(options),  # first: --seed is the seed of the weights here, not of the inputs
        precision=take_precision_options(options),  # before the options of the same names of a verification
        parity=take(ParityOptions, options),
        optimize=take(OptimizeOptions, options),
        verify=not no_verify,
        sign=read_signing_key(options.pop("sign_key")),
        **options,
    )

    from exporter.cli.given_files import check_given_files
    from exporter.output_targets import check_output_folder, new_folder_notes
    from exporter.workflows.export_checks import check_usage

    check_usage(request)  # before the imports below, which take seconds
    check_output_folder(request.output_dir, "--output-dir")
    check_given_files(context.params)

    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.export import export_to_dict, print_export
    from exporter.workflows.export import export

    folder_notes = new_folder_notes(request.output_dir)
    with progress_on_terminal() as progress:
        result = export(request, progress, progress.print_finished)
    result = replace(result, notes=(*result.notes, *folder_notes))
    show(result, export_to_dict, print_export, as_json=as_json)


def main() -> NoReturn:
    """Run `c3d-export`: the command in a worker process, this one watching it."""
    _supervise("c3d-export")


def verify_main() -> NoReturn:
    """Run `verify`, likewise."""
    _supervise("verify")


def _supervise(command: str) -> NoReturn:
    streams.open_standard()
    streams.accept_any_text()
    try:
        supervise(lambda: run_here(command), report_outcome, separate_output="--debug" not in sys.argv)
    except (OSError, MemoryError) as error:  # no second process, descriptors or memory for it, for this user (ulimit)
        os._exit(report_error(error, as_json=False))


def run_here(command: str) -> NoReturn:
    """Run `c3d-export` or `verify` in this process."""
    run(cli if command == "c3d-export" else cli.commands[command], command)
