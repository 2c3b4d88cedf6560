"""`c3d-export optimize`: the passes, for any ONNX model."""

from pathlib import Path

import click

from exporter.cli.options import EXISTING, Seed, json_options, optimize_options
from exporter.cli.parity_options import Shape
from exporter.types import OptimizeFor, OptimizeOptions, OptimizeRequest, WeightDtype


@click.command("optimize", short_help="The same function, faster on a CPU: for any ONNX model.")
@click.argument("model", type=EXISTING)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write; MODEL itself is replaced at once, after the check. [default: MODEL.optimized.onnx]",
)
@optimize_options
@click.option("--explain", is_flag=True, help="Print what became of which node, why, and how much it errs.")
@click.option("--no-verify", is_flag=True, help="Publish without holding the result against the original.")
@click.option(
    "--shape",
    "shapes",
    type=Shape(),
    multiple=True,
    metavar="INPUT=SIZES",
    help="Sizes to verify at, of an input that leaves more than its batch free: clip=1x3x16x112x112. Repeatable.",
)
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of the inputs it is verified on.")
@json_options
def optimize_command(
    model: Path,
    output: Path | None,
    autotune: bool,
    optimize_for: OptimizeFor,
    weight_dtype: WeightDtype,
    explain: bool,
    no_verify: bool,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    seed: int,
    machine: bool,
) -> None:
    """Rewrite MODEL, any ONNX file, to run faster on a CPU, and hold the result against it in float64.

    The function, the names, and what is free in the shapes stay as they are. Only what passes is written; a model that
    no pass changes is left alone, byte for byte (with -o, copied).

    \b
    Examples:
      c3d-export optimize r3d.onnx                              writes r3d.optimized.onnx
      c3d-export optimize r3d.onnx -o fast/r3d.onnx --autotune      choose by measuring on this machine
      c3d-export optimize unet.onnx --explain --shape image=1x1x64x64x64
      c3d-export optimize artifacts/c3d.onnx --weight-dtype fp16  half the file, float32 arithmetic
    """
    graph = OptimizeOptions("cpu", autotune, optimize_for, weight_dtype, measure_errors=explain)
    request = OptimizeRequest(model, output, graph, not no_verify, dict(shapes), seed)
    from exporter.reports.console import echo, print_parity, progress_on_terminal, stdout
    from exporter.reports.json_report import dump, parity_to_dict
    from exporter.reports.optimize import optimized_object, print_optimized
    from exporter.workflows.optimize import OptimizationMismatchError, optimize

    try:
        with progress_on_terminal() as progress:
            optimized = optimize(request, progress)
    except OptimizationMismatchError as error:
        if machine:
            echo(dump({"error": error.to_dict(), "parity": parity_to_dict([error.report])}))
            error.reported = True
        else:
            print_parity(error.report, stdout())
        raise
    if machine:
        echo(dump(optimized_object(optimized)))
    else:
        print_optimized(optimized, stdout(), explain=explain)
