"""`verify self-test`: does the parity check detect injected faults?"""

from pathlib import Path
from typing import Any

import click

from exporter.cli.network_options import network_options, take_build_options
from exporter.cli.options import PATH, json_options, limit_options, seed_option, take
from exporter.cli.sections import SectionedCommand
from exporter.cli.unreadable import refuse_unreadable
from exporter.fault_injection.results import SelfTestOptions


@click.command(
    "self-test", cls=SectionedCommand, short_help="Check that verify parity detects faults injected into an artifact."
)
@click.argument("artifact", type=PATH)
@network_options("the one in the manifest")
@click.option("--quick", is_flag=True, help="For CI: one position per fault type, and no extra unmodified runs.")
@click.option("--localize", is_flag=True, help="Also check that the layer of each detected fault is named.")
@click.option("--only", metavar="TEXT", help="Only fault types with TEXT in their name (docs/reference/faults.md).")
@click.option(
    "--clean-runs",
    type=click.IntRange(0, 100_000),
    metavar="N",
    help="Run the unmodified ARTIFACT on N more random inputs; none may fail. [default: 14; 0 with --quick]",
)
@seed_option("Seed of the inputs, and of the faults that use random numbers.")
@limit_options()
@json_options
@click.pass_context
def self_test_command(context: click.Context, /, artifact: Path, as_json: bool, **options: Any) -> None:
    """Inject faults into copies of ARTIFACT, one at a time, and count how many verify parity detects. Exit code 0 or 1.

    ARTIFACT is an ONNX file of this project, or any C3D with --weights; it is not changed. Each faulty copy is compared
    as verify parity does it, on random, saturated, zero and video inputs. A copy that passes is run in float64 too: its
    fault is either undetected, or smaller than what float32 can show.

    \b
    Examples:
      verify self-test artifacts/c3d.onnx --quick
      verify self-test artifacts/c3d.onnx --localize --clean-runs 100
      verify self-test artifacts/c3d.onnx --only relu
    """
    refuse_unreadable(artifact)

    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.self_test import print_self_test, self_test_to_dict
    from exporter.workflows.self_test import self_test

    test_options = take(SelfTestOptions, options)
    with progress_on_terminal() as progress:
        report = self_test(artifact, test_options, take_build_options(options), progress)
    show(report, self_test_to_dict, print_self_test, as_json=as_json)
    context.exit(0 if report.passed else 1)
