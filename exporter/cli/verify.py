"""`verify parity`: does an artifact answer as the network does?"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.options import machine_options, network_options, parity_options
from exporter.cli.parity_options import input_options, judgement_options, report_options
from exporter.errors import ArtifactError, OutputError
from exporter.types import ParityOptions, ReferenceOptions

if TYPE_CHECKING:
    from exporter.parity.baseline import Baseline
    from exporter.verdicts import ParityReport


@click.group(no_args_is_help=True, context_settings={"max_content_width": 110})
def verify() -> None:
    """Check artifacts: verify parity."""


@verify.command(short_help="Does an artifact answer as the network does?")
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@network_options("the manifest's")
@parity_options
@input_options
@judgement_options
@report_options
@machine_options
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
      verify parity model.onnx --weights c3d.pth --clip holiday.mp4 --junit parity.xml
    """
    from exporter.parity.verify import verify_parity
    from exporter.reports.console import echo, print_parity, progress_on_terminal, stdout
    from exporter.reports.machine import dump, parity_object

    reports_to = {name: options.pop(name) for name in ("junit", "baseline", "save_baseline", "growth")}
    reference = ReferenceOptions(*(options.pop(name) for name in ("weights", "layout", "batch_norm", "pool5")))
    shapes = dict(options.pop("shapes"))
    with progress_on_terminal() as progress:
        known = read_known(reports_to)
        reports = verify_parity(
            artifacts or found_in(Path("artifacts")), ParityOptions(**options), reference, progress, shapes
        )
        reports = settle(reports, known, reports_to)
    if machine:
        echo(dump(parity_object(reports)))
    else:
        for report in reports:
            print_parity(report, stdout())
    context.exit(0 if all(report.passed for report in reports) else 1)


def read_known(wanted: dict[str, Any]) -> "Baseline | None":
    """Read the baseline, and check what else is asked of the reports, before anything runs."""
    from exporter.parity.baseline import check_growth, read_baseline

    check_growth(wanted["growth"])
    for option in ("junit", "save_baseline"):
        if wanted[option]:
            require_place(wanted[option], f"--{option.replace('_', '-')}")
    return read_baseline(wanted["baseline"]) if wanted["baseline"] else None


def require_place(path: Path, option: str) -> None:
    """Refuse a place that cannot be written to before anything runs.

    Raises:
        OutputError: there is no such folder, or it is not to be written to.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{option} {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{option} {path}: cannot be written to")


def settle(
    reports: "tuple[ParityReport, ...]", known: "Baseline | None", wanted: dict[str, Any]
) -> "tuple[ParityReport, ...]":
    """Hold the reports against the baseline, and write what was asked for."""
    from exporter.parity.baseline import hold_against, save_baseline
    from exporter.reports.junit import write_junit

    if known is not None:
        reports = hold_against(known, wanted["growth"], reports)
    if wanted["save_baseline"]:
        if all(report.passed for report in reports):
            save_baseline(wanted["save_baseline"], reports)
        else:
            click.echo(f"--save-baseline {wanted['save_baseline']}: not written, because parity failed", err=True)
    if wanted["junit"]:
        write_junit(wanted["junit"], reports)
    return reports


def found_in(folder: Path) -> tuple[Path, ...]:
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
