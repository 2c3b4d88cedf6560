"""`verify self-test`: does the parity checker catch what it should?"""

from pathlib import Path
from typing import Any

import click

from exporter.cli.options import EXISTING, Seed, json_options, network_options
from models.options import BuildOptions


@click.command("self-test", short_help="Does the checker catch faults planted in an artifact?")
@click.argument("artifact", type=EXISTING)
@network_options("the manifest's")
@click.option("--quick", is_flag=True, help="One place of each kind of fault, and no further clean runs: for CI.")
@click.option("--localize", is_flag=True, help="Also tell whether the layer of each fault caught is named.")
@click.option("--only", metavar="TEXT", help="Only kinds of fault with TEXT in their name; docs/parity.md lists them.")
@click.option(
    "--clean-runs",
    type=click.IntRange(0, 100_000),
    metavar="N",
    help="Run ARTIFACT itself on N more random inputs, none of which may raise an alarm. [default: 14; 0 if --quick]",
)
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of the inputs, and of the faults that draw.")
@json_options
@click.pass_context
def self_test_command(context: click.Context, /, artifact: Path, machine: bool, **options: Any) -> None:
    """Plant faults in copies of ARTIFACT, one at a time, and tell how many verify parity would catch. Exit code 0 or 1.

    ARTIFACT is an ONNX file of this project, or any C3D with --weights. Each faulty copy is judged by its numbers, as
    verify parity does, on random, saturated, zero and real clips. What is not caught is run in float64: it was missed,
    or it is below what float32 can show. The artifact itself is left alone.

    \b
    Examples:
      verify self-test artifacts/c3d.onnx --quick
      verify self-test artifacts/c3d.onnx --localize --clean-runs 100
      verify self-test artifacts/c3d.onnx --only relu
    """
    from exporter.fault_injection.results import SelfTestOptions
    from exporter.fault_injection.runner import self_test
    from exporter.reports.console import echo, progress_on_terminal, stdout
    from exporter.reports.json_report import dump
    from exporter.reports.self_test import print_self_test, self_test_object

    reference = BuildOptions(**{name: options.pop(name) for name in ("weights", "layout", "batch_norm", "pool5")})
    with progress_on_terminal() as progress:
        report = self_test(artifact, SelfTestOptions(**options), reference, progress)
    if machine:
        echo(dump(self_test_object(report)))
    else:
        print_self_test(report, stdout())
    context.exit(0 if report.passed else 1)
