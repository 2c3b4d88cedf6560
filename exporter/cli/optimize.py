"""`c3d-export optimize`: the passes, for any ONNX model."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import (
    given_input_options,
    json_options,
    limit_options,
    optimize_options,
    seed_option,
    take,
    take_inputs,
)
from exporter.cli.provenance_options import artifact_hash_option, read_signing_key, sign_key_option, verify_key_option
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import PATH
from exporter.requests import OptimizeRequest
from exporter.types import OptimizeOptions


@click.command("optimize", cls=SectionedCommand)
@click.argument("model", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The file to write; it may be MODEL itself, which is replaced after the check. "
    "[default: MODEL.optimized.onnx]",
)
@optimize_options
@click.option("--explain", is_flag=True, help="Print what was done with each node, why, and its numerical error.")
@click.option("--no-verify", is_flag=True, help="Publish without comparing the result with the original.")
@click.option(
    "--no-measure", is_flag=True, help="Keep the rewritten model without measuring that it is faster than the original."
)
@click.option(
    "--decisions",
    type=PATH,
    metavar="FILE",
    help="Repeat the decisions of an earlier run instead of predicting and measuring: a model that it wrote, its "
    "manifest, or the output of its --json.",
)
@given_input_options
@seed_option("Seed of the inputs for the comparison.")
@verify_key_option
@artifact_hash_option
@sign_key_option()
@limit_options("Refuse a verification that would take more, before it starts. ")
@json_options
def optimize_command(
    model: Path, explain: bool, no_verify: bool, no_measure: bool, as_json: bool, **options: Any
) -> None:
    """Rewrite MODEL, any ONNX file, to run faster on a CPU, and compare the result with it in float64.

    The function and the names stay the same, and the dynamic axes unless --shape fixes them. Only a result that passes,
    and that is faster here than the original, is written. A model for which there is none is left as it is, byte for
    byte (with -o it is copied).

    \b
    Examples:
      c3d-export optimize r3d.onnx             writes r3d.optimized.onnx
      c3d-export optimize r3d.onnx --autotune -o fast/r3d.onnx
      c3d-export optimize unet.onnx --explain --shape image=1x1x64x64x64
      c3d-export optimize artifacts/c3d.onnx --weight-dtype fp16
    """
    optimize_for_cpu = take(OptimizeOptions, {**options, "target": "cpu", "measure_errors": explain})
    request = OptimizeRequest(
        model,
        options["output"],
        optimize_for_cpu,
        verify=not no_verify,
        measure=not no_measure,
        decisions=options["decisions"],
        inputs=take_inputs(options),
        seed=options["seed"],
        max_memory=options["max_memory"],
        verify_keys=options["verify_keys"],
        expect_sha256=options["expect_sha256"],
        sign=read_signing_key(options["sign_key"]),
    )
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.optimize import optimization_to_dict, print_optimization
    from exporter.workflows.optimize import optimize

    with progress_on_terminal() as progress:
        result = optimize(request, progress)
    show(result, optimization_to_dict, partial(print_optimization, explain=explain), as_json=as_json)
