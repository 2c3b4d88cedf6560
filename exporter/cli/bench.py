"""`c3d-export bench`: model files and other engines, measured side by side."""

from pathlib import Path
from typing import Any

import click

from exporter.bench.deployment.types import DeploymentRequest
from exporter.bench.types import BenchRequest
from exporter.cli.bench_all import bench_all_options, check_given, take_request
from exporter.cli.error_handling import write_last
from exporter.cli.options import (
    check_output_files,
    given_input_options,
    json_options,
    limit_options,
    parse_ints,
    seed_option,
    take,
    take_inputs,
)
from exporter.cli.provenance_options import artifact_hash_option, load_options
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import PATH, Choice, GivenPath
from exporter.engines import bench_engines
from models.options import BuildOptions


def parse_engine_python(value: str) -> tuple[str, Path]:
    """Return the engine and the interpreter of `mnn=/opt/mnn/bin/python`; the library checks both."""
    name, _, path = value.partition("=")
    if not (name and path):
        raise click.BadParameter(f"{value!r} is not of the form mnn=PATH/bin/python")
    return name, Path(path)


@click.command("bench", cls=SectionedCommand)
@click.argument("artifacts", nargs=-1, type=PATH)
@bench_all_options
@click.option(
    "--batch",
    "batches",
    type=parse_ints,
    metavar="N,…",
    help="Batch sizes. [default: 1,4, or the model's own if it is fixed]",
)
@click.option("--threads", type=parse_ints, metavar="N,…", help="Thread counts. [default: the available cores]")
@click.option("--rounds", type=int, default=20, help="Interleaved rounds of each target.")
@click.option("--warmup", type=int, default=2, help="Calls before the first round.")
@click.option(
    "--seconds",
    type=float,
    default=120.0,
    help="Time limit for each batch size and thread count; at least three rounds are run.",
)
@click.option("--load-rounds", type=int, default=3, help="New processes in which each target is loaded.")
@seed_option("Seed of the inputs and of the order within a round; with --all also of random weights.")
@given_input_options
@click.option(
    "--device",
    type=Choice(("cpu", "cuda")),
    default="cpu",
    help="Device on which everything runs.",
)
@click.option(
    "--engines",
    is_flag=True,
    help="Also measure the same network in each of these that is installed: torch eager, torch inductor, onnxruntime "
    "on the unoptimized graph, OpenVINO, MNN.",
)
@click.option(
    "--engine-python",
    type=parse_engine_python,
    multiple=True,
    metavar="ENGINE=PATH",
    help="The Python interpreter that has an engine installed, if not this one; engines are "
    f"{', '.join(engine.name for engine in bench_engines())}. Repeatable.",
)
@click.option(
    "--engine-model",
    type=PATH,
    metavar="ONNX",
    help="The unoptimized graph for --engines. [default: the first unoptimized artifact, else a new export]",
)
@click.option(
    "--html",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the tables with charts as one offline page. Needs the [report] extra.",
)
@load_options
@artifact_hash_option
@limit_options()
@json_options
@click.pass_context
def bench_command(
    context: click.Context, artifacts: tuple[Path, ...], as_json: bool, html: Path | None, **options: Any
) -> None:
    """Measure ARTIFACTS in interleaved rounds, each in its own process; ratios are to the first.

    With --all, what to deploy: the network of --weights or of one artifact is exported in every format and precision
    that can run here; each is verified and measured; the last line is the command that exports the recommended one. A
    run that was stopped goes on where it was.

    Exit code 1 if one of ARTIFACTS, or an export of --all, failed; 3 or 4 if one cannot be loaded: the others are
    measured. An engine of --engines that is missing or fails is only reported.

    \b
    Examples:
      c3d-export bench --all --weights c3d.pth --calibrate videos/ \\
          --html deploy.html
      c3d-export bench artifacts/c3d.onnx artifacts/c3d.pt
      c3d-export bench artifacts/c3d.onnx --engines --batch 1,4 --html bench.html
      c3d-export bench artifacts/c3d.onnx --engines \\
          --engine-python mnn=$HOME/mnn/bin/python
      c3d-export bench fast.onnx plain.onnx --threads 1,2 \\
          --shape input=1x3x224x224 --json
    """
    check_output_files({"--html": html}, artifacts)

    everything = options["everything"]
    check_given(context, everything=everything)
    if not artifacts and not everything:
        raise click.UsageError("name an artifact to measure, or give --all")

    from exporter.cli.given_files import check_given_files, refuse_unreadable
    from exporter.workflows.bench_checks import check_comparison, check_request

    request = take_request(artifacts, options) if everything else _take_request(artifacts, options)
    if isinstance(request, DeploymentRequest):
        check_comparison(request)
    else:
        check_request(request)
    check_given_files(context.params)
    refuse_unreadable(*(artifacts if len(artifacts) == 1 else ()), context.params["engine_model"])
    if isinstance(request, DeploymentRequest):
        context.exit(_run_all(request, html, as_json=as_json))
    context.exit(_run(request, html, as_json=as_json))


def _take_request(artifacts: tuple[Path, ...], options: dict[str, Any]) -> BenchRequest:
    options |= {
        "artifacts": artifacts,
        "keep_going": len(artifacts) > 1,
        "reference": BuildOptions(weights=options["weights"]),
        "engine_python": dict(options["engine_python"]),
        "inputs": take_inputs(options),
    }
    return take(BenchRequest, options)


def _run(request: BenchRequest, html: Path | None, *, as_json: bool) -> int:
    from exporter.reports.bench import bench_to_dict, print_bench
    from exporter.reports.bench_page import bench_page
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.html import write_page
    from exporter.workflows.bench import benchmark

    with progress_on_terminal() as progress:
        report = benchmark(request, progress)
    show(report, bench_to_dict, print_bench, as_json=as_json)
    page = (html, lambda file: write_page(file, lambda: bench_page(report)))
    return write_last([page], as_json=as_json) or report.exit_code


def _run_all(request: DeploymentRequest, html: Path | None, *, as_json: bool) -> int:
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.deployment import deployment_to_dict, print_deployment
    from exporter.reports.deployment_page import deployment_page
    from exporter.reports.html import write_page
    from exporter.workflows.deployment_table import benchmark_all

    with progress_on_terminal() as progress:
        table = benchmark_all(request, progress, progress.print_finished)
    show(table, deployment_to_dict, print_deployment, as_json=as_json)
    page = (html, lambda file: write_page(file, lambda: deployment_page(table)))
    return write_last([page], as_json=as_json) or int(table.failed)
