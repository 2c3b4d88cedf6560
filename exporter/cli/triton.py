"""`c3d-export triton`: an artifact as a model of NVIDIA's Triton Inference Server."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.network_options import labels_option
from exporter.cli.options import (
    choice_option,
    json_options,
    limit_options,
    parse_ints,
)
from exporter.cli.provenance_options import load_options
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import PATH, Choice
from exporter.triton.types import (
    DEFAULT_MAX_BATCH,
    DEFAULT_QUEUE_DELAY_US,
    INSTANCE_KINDS,
    TRITON_BACKENDS,
    TritonRequest,
)


@click.command("triton", cls=SectionedCommand, sections={"Artifact": ("version",)})
@click.argument("artifact", type=PATH)
@click.option(
    "-o",
    "--output-dir",
    "repository",
    type=PATH,
    default=Path("model_repository"),
    metavar="FOLDER",
    help="The model repository that the server is given; created if missing.",
)
@click.option("--name", help="The model's name in the repository. [default: the artifact's]")
@click.option(
    "--version",
    type=int,
    metavar="N",
    help="The version's number. [default: the next one; the same one where the model file is there already]",
)
@click.option("--overwrite", is_flag=True, help="Replace another model of that name, or a version that is there.")
@click.option(
    "--backend",
    type=Choice(TRITON_BACKENDS),
    help="The engine of the server. [default: onnxruntime for ONNX, pytorch for TorchScript, openvino for OpenVINO]",
)
@click.option(
    "--max-batch",
    type=int,
    metavar="N",
    help=f"The largest batch that the server makes of requests. [default: {DEFAULT_MAX_BATCH}; with OpenVINO none]",
)
@click.option(
    "--preferred-batch",
    "preferred_batches",
    type=parse_ints,
    metavar="N,…",
    help="Batch sizes that run at once, without waiting for more. [default: the largest]",
)
@click.option(
    "--queue-delay",
    "queue_delay_us",
    type=int,
    default=DEFAULT_QUEUE_DELAY_US,
    metavar="MICROSECONDS",
    help="How long a request waits for others to make a batch.",
)
@click.option("--instances", type=int, default=1, metavar="N", help="Copies of the model on each device.")
@choice_option("--kind", INSTANCE_KINDS, "auto", "Where they run; auto: on each GPU, or on the CPU without one.")
@click.option("--threads", type=int, metavar="N", help="CPU threads of each copy. [default: the engine's]")
@click.option("--no-warm-up", is_flag=True, help="Do not run zeros before the server says that it is ready.")
@labels_option
@load_options
@limit_options()
@json_options
def triton_command(
    artifact: Path, preferred_batches: tuple[int, ...] | None, no_warm_up: bool, as_json: bool, **options: Any
) -> None:
    """Write ARTIFACT, an ONNX, TorchScript or OpenVINO file, as a model of a Triton model repository.

    The model's folder gets a config.pbtxt with its inputs, outputs, dynamic batches, class names, warm-up and the
    hashes of the manifest, and a version folder with the model's files. Run again with another artifact of the same
    inputs and outputs, it adds the next version. Another model is never replaced without --overwrite, and a
    config.pbtxt that you edited is kept.

    \b
    Examples:
      c3d-export triton artifacts/c3d.onnx -o model_repository
      c3d-export triton artifacts/c3d.onnx --backend openvino \\
          --instances 2 --threads 4
      c3d-export triton artifacts/c3d.pt --name c3d_gpu --kind gpu \\
          --max-batch 16 --preferred-batch 8,16
    """
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.triton import print_triton, triton_to_dict
    from exporter.workflows.triton import triton_repository

    with progress_on_terminal() as progress:
        preferred = preferred_batches or ()
        request = TritonRequest(artifact, preferred_batches=preferred, warm_up=not no_warm_up, **options)
        result = triton_repository(request, progress)
    show(result, triton_to_dict, print_triton, as_json=as_json)
