"""`verify parity`: does an artifact answer as the network does?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.options import json_options, network_options, parity_options
from exporter.cli.parity_options import input_options, report_options, tolerance_options
from exporter.cli.self_test import self_test_command
from exporter.errors import ArtifactError
from exporter.types import ParityOptions
from models.options import BuildOptions

if TYPE_CHECKING:
    from exporter.parity.baseline import Baseline
    from exporter.results import ParityReport


@click.group(no_args_is_help=True, context_settings={"max_content_width": 110})
def verify() -> None:
    """Check artifacts: verify parity. Check the checker: verify self-test."""


verify.add_command(self_test_command)


@verify.command(short_help="Does an artifact answer as the network does?")
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@network_options("the manifest's")
@parity_options
@input_options
@tolerance_options
@report_options
@json_options
@click.pass_context
def parity(context: click.Context, artifacts: tuple[Path, ...], machine: bool, **options: Any) -> None:
    """Run ARTIFACTS and the network on the same inputs, and judge by float64. Exit code 0 or 1.

    Without arguments, every artifact in ./artifacts. The network is rebuilt from each artifact's manifest; --weights
    names the checkpoint where the manifest's is elsewhere now, or where a file has no manifest (--layout, --batch-norm
    and --pool5 then describe it). With --against FILE, that file in float64 is the truth, whatever its network.

    \b
    Examples:
      verify parity
      verify parity artifacts/c3d.onnx --localize
      verify parity artifacts/c3d.onnx --against openvino
      verify parity mine.onnx --against theirs.onnx --shape input=1x3x224x224
      verify parity model.onnx --weights c3d.pth --clip holiday.mp4 --html parity.html
    """
    from exporter.parity.baseline import check_baseline
    from exporter.reports.console import echo, print_parity, progress_on_terminal, stdout
    from exporter.reports.json_report import dump, parity_to_dict
    from exporter.workflows.verify import verify_parity

    reports_to = {name: options.pop(name) for name in ("junit", "html", "baseline", "save_baseline", "max_growth")}
    reference = BuildOptions(**{name: options.pop(name) for name in ("weights", "layout", "batch_norm", "pool5")})
    shapes = dict(options.pop("shapes"))
    require_outputs(reports_to)
    with progress_on_terminal() as progress:
        known = read_known(reports_to)
        reports = verify_parity(
            artifacts or find_artifacts(Path("artifacts")), ParityOptions(**options), reference, progress, shapes
        )
    if known is not None:
        reports = check_baseline(known, reports_to["max_growth"], reports)
    if machine:
        echo(dump(parity_to_dict(reports)))
    else:
        for report in reports:
            print_parity(report, stdout())
    write_reports(reports, reports_to)  # last: a disk that is full now must not cost the verdict
    context.exit(0 if all(report.passed for report in reports) else 1)


def require_outputs(wanted: dict[str, Any]) -> None:
    """Ask for what the reports need before anything runs: places that can be written to, and libraries."""
    from exporter.reports.html import require_libraries
    from exporter.reports.output_files import check_output_path

    for name, option in (("junit", "--junit"), ("html", "--html"), ("save_baseline", "--save-baseline")):
        if wanted[name]:
            check_output_path(wanted[name], option)
    if wanted["html"]:
        require_libraries()


def read_known(wanted: dict[str, Any]) -> Baseline | None:
    """Read the baseline before anything runs."""
    from exporter.parity.baseline import check_growth, read_baseline

    check_growth(wanted["max_growth"])
    return read_baseline(wanted["baseline"]) if wanted["baseline"] else None


def write_reports(reports: tuple[ParityReport, ...], wanted: dict[str, Any]) -> None:
    """Write the files that were asked for."""
    from exporter.parity.baseline import save_baseline
    from exporter.reports.junit import write_junit

    if wanted["save_baseline"]:
        if all(report.passed for report in reports):
            save_baseline(wanted["save_baseline"], reports)
        else:
            click.echo(f"--save-baseline {wanted['save_baseline']}: not written, because parity failed", err=True)
    if wanted["junit"]:
        write_junit(wanted["junit"], reports)
    if wanted["html"]:
        from exporter.reports.html import write_page
        from exporter.reports.parity_page import parity_page

        write_page(wanted["html"], lambda: parity_page(reports))


def find_artifacts(folder: Path) -> tuple[Path, ...]:
    """Return every artifact in `folder`, by name.

    Raises:
        ArtifactError: there is none.
    """
    from exporter.formats import FORMATS
    from exporter.formats.torchscript import is_archive

    suffixes = {known.suffix for known in FORMATS.values()}
    # a checkpoint may lie there too, under the same suffix as a TorchScript archive
    artifacts = sorted(
        path
        for path in folder.glob("*")
        if path.suffix in suffixes and path.is_file() and (path.suffix != ".pt" or is_archive(path))
    )
    if not artifacts:
        raise ArtifactError(f"no artifacts in ./{folder}; make one with c3d-export --format onnx, or name a file")
    return tuple(artifacts)
