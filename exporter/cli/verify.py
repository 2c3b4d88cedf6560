"""`verify parity`: does an artifact return what the network returns?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.error_handling import print_line, report_refused
from exporter.cli.integrity import integrity_command
from exporter.cli.network_options import network_options, take_build_options
from exporter.cli.options import check_output_files, device_options, json_options, limit_options, take, take_inputs
from exporter.cli.parity_options import input_options, report_options, tolerance_options
from exporter.cli.provenance_options import artifact_hash_option, load_options
from exporter.cli.sections import SectionedGroup
from exporter.cli.self_test import self_test_command
from exporter.cli.unreadable import refuse_unreadable
from exporter.cli.video_options import preprocess_options, runner_options, take_ray_options
from exporter.errors import C3DExportError
from exporter.types import ParityOptions

if TYPE_CHECKING:
    from exporter.results import ParityReport


@click.group(
    cls=SectionedGroup,
    no_args_is_help=True,
    short_help="Check outputs (parity), files (integrity), the check (self-test).",
    context_settings={"max_content_width": 110},
)
def verify() -> None:
    """Check outputs with `verify parity`, files with `verify integrity`, the check itself with `verify self-test`."""


verify.add_command(integrity_command)
verify.add_command(self_test_command)


@verify.command(short_help="Check that artifacts return what the network returns.")
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@network_options("the one in the manifest")
@preprocess_options
@device_options
@runner_options
@input_options
@tolerance_options
@report_options
@load_options
@artifact_hash_option
@limit_options("Refuse a comparison with an ONNX file that would take more, before it starts. ")
@json_options
@click.pass_context
def parity(context: click.Context, artifacts: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Run ARTIFACTS and the network on the same inputs, and compare both with float64. Exit code 0 or 1.

    Without arguments, every artifact in ./artifacts is checked; a folder stands for those in it. The network is
    rebuilt from the manifest of each artifact; --weights names the checkpoint if it is no longer where the manifest
    says, or if a file has no manifest (then --layout, --batch-norm and --pool5 describe it). With --against FILE,
    artifacts are compared with that file in float64 instead of the network, whatever its architecture.

    \b
    Examples:
      verify parity
      verify parity artifacts/c3d.onnx --localize
      verify parity artifacts/c3d.onnx --against openvino
      verify parity mine.onnx --against theirs.onnx --shape input=1x3x224x224
      verify parity model.onnx --weights c3d.pth --clip holiday.mp4 \\
          --html parity.html
      verify parity artifacts/c3d.onnx --clip videos/ --runner ray
    """
    refuse_unreadable(*(artifacts if len(artifacts) == 1 else ()), options["against"])

    from exporter.artifacts.files import manifest_path
    from exporter.parity.baseline import check_baseline, check_growth, read_baseline
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.json_report import add_errors, parity_to_dict
    from exporter.reports.parity import print_reports
    from exporter.workflows.targets import find_artifacts, find_targets
    from exporter.workflows.verify import verify_parity

    files = {name: options.pop(name) for name in ("junit", "html", "save_baseline")}
    baseline, max_growth = options.pop("baseline"), options.pop("max_growth")
    options["inputs"] = take_inputs(options)
    ray = take_ray_options(options)
    parity_options = take(ParityOptions, options)
    reference = take_build_options(options)
    against = [parity_options.against] if isinstance(parity_options.against, Path) else []
    refused: list[C3DExportError] = []
    named = find_targets(artifacts, find_artifacts, refused.append)
    by_option = {f"--{name.replace('_', '-')}": path for name, path in files.items()}
    check_output_files(by_option, (*named, *map(manifest_path, named), *against))
    check_growth(max_growth)
    with progress_on_terminal() as progress:
        before = read_baseline(baseline) if baseline else None
        refuse = refused.append if len(named) + len(refused) > 1 else None
        reports = verify_parity(named, parity_options, reference, progress, ray, refuse)
    if before is not None:
        reports = check_baseline(before, max_growth, reports)
    show(reports, lambda reports: add_errors(parity_to_dict(reports), refused), print_reports, as_json=as_json)
    code = report_refused(refused)
    write_files(reports, refused, **files)  # last: a disk that is full now must not hide the result
    context.exit(code or (0 if all(report.passed for report in reports) else 1))


def write_files(
    reports: tuple[ParityReport, ...],
    refused: Sequence[C3DExportError] = (),
    *,
    junit: Path | None = None,
    html: Path | None = None,
    save_baseline: Path | None = None,
) -> None:
    """Write the results as the files that are not None; a baseline only if everything passed, a page only of reports.

    Raises:
        OutputError: a file cannot be written.
    """
    from exporter.parity import baseline
    from exporter.reports.junit import write_junit

    if save_baseline:
        if not refused and all(report.passed for report in reports):
            baseline.save_baseline(save_baseline, reports)
        else:
            print_line(f"--save-baseline {save_baseline}: not written, because parity failed")
    if junit:
        write_junit(junit, reports, refused)
    if html and reports:
        from exporter.reports.html import write_page
        from exporter.reports.parity_page import parity_page

        write_page(html, lambda: parity_page(reports, refused=refused))
