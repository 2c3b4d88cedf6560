"""`verify`: does an artifact return what the network returns, are the files intact, does the check detect faults?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter import __version__
from exporter.cli.error_handling import print_line, report_refused, write_last
from exporter.cli.network_options import network_options, preprocess_options, take_build_options
from exporter.cli.options import (
    check_output_files,
    device_options,
    is_given,
    json_options,
    limit_options,
    seed_option,
    take,
    take_inputs,
)
from exporter.cli.parity_options import input_options, report_options, tolerance_options
from exporter.cli.provenance_options import artifact_hash_option, load_options
from exporter.cli.sections import SectionedCommand, SectionedGroup
from exporter.cli.values import PATH, WholeNumber
from exporter.cli.video_options import runner_options, take_ray_options
from exporter.errors import C3DExportError, UsageError
from exporter.fault_injection.results import SelfTestOptions
from exporter.types import ParityOptions

if TYPE_CHECKING:
    from exporter.results import ParityReport


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
    type=WholeNumber(0, 100_000),
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
    from exporter.cli.given_files import check_given_files, refuse_unreadable

    check_given_files(context.params)
    refuse_unreadable(artifact)

    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.self_test import print_self_test, self_test_to_dict
    from exporter.workflows.self_test import self_test

    test_options = take(SelfTestOptions, options)
    with progress_on_terminal() as progress:
        report = self_test(artifact, test_options, take_build_options(options), progress)
    show(report, self_test_to_dict, print_self_test, as_json=as_json)
    context.exit(0 if report.passed else 1)


@click.command("integrity", cls=SectionedCommand, short_help="Check files against the hashes in their manifests.")
@click.argument("artifacts", nargs=-1, type=PATH)
@click.option(
    "--deep",
    is_flag=True,
    help="Also load the weights with each library of the format (onnx and onnxruntime, torch, OpenVINO), and compare "
    "what it reads bit for bit.",
)
@click.option("--junit", type=PATH, metavar="FILE", help="Write the results as JUnit XML.")
@load_options
@artifact_hash_option
@limit_options()
@json_options
@click.pass_context
def integrity_command(
    context: click.Context, artifacts: tuple[Path, ...], as_json: bool, junit: Path | None, **options: Any
) -> None:
    """Compare every file of ARTIFACTS with the size and SHA-256 in its manifest, and each weight with its own hash.

    Nothing runs and no engine is loaded, so it takes about as long as sha256sum. Without arguments, every artifact in
    ./artifacts is checked; a folder stands for those in it. A file without a manifest fails. Exit code 0 or
    1; 3 where a manifest cannot be read.

    \b
    Examples:
      verify integrity
      verify integrity artifacts/c3d.onnx --deep
      verify integrity artifacts/*.onnx --junit integrity.xml
    """
    from exporter.artifacts.files import manifest_path
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.integrity import integrity_to_dict, print_integrity, write_integrity_junit
    from exporter.reports.json_report import add_errors
    from exporter.workflows.integrity import verify_integrity
    from exporter.workflows.targets import find_targets

    refused: list[C3DExportError] = []
    named = find_targets(artifacts, refused.append, missing=True)
    check_output_files({"--junit": junit}, (*named, *map(manifest_path, named)))
    with progress_on_terminal() as progress:
        refuse = refused.append if len(named) + len(refused) > 1 else None
        reports = verify_integrity(named, progress=progress, refuse=refuse, **options)
    show(reports, lambda reports: add_errors(integrity_to_dict(reports), refused), print_integrity, as_json=as_json)
    code = report_refused(refused)
    write = partial(write_integrity_junit, reports=reports, refused=refused)
    unwritten = write_last([(junit, write)], as_json=as_json)
    passed = all(report.passed for report in reports)
    context.exit(3 if any(report.bad_manifest for report in reports) else unwritten or code or (0 if passed else 1))


@click.group("verify", cls=SectionedGroup, no_args_is_help=True)
@click.version_option(__version__, prog_name="verify")
def verify_command() -> None:
    """Check outputs with `verify parity`, files with `verify integrity`, the check itself with `verify self-test`."""


verify_command.add_command(integrity_command)
verify_command.add_command(self_test_command)


@verify_command.command(short_help="Check that artifacts return what the network returns.")
@click.argument("artifacts", nargs=-1, type=PATH)
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
    from exporter.artifacts.files import manifest_path
    from exporter.cli.given_files import check_given_files, refuse_unreadable
    from exporter.parity.baseline import check_baseline, check_growth, read_baseline
    from exporter.workflows.targets import find_targets

    files = {name: options.pop(name) for name in ("junit", "html", "save_baseline")}
    baseline, max_growth = options.pop("baseline"), options.pop("max_growth")
    options["inputs"] = take_inputs(options)
    ray = take_ray_options(options)
    parity_options = take(ParityOptions, options)
    reference = take_build_options(options)
    against = [parity_options.against] if isinstance(parity_options.against, Path) else []
    refused: list[C3DExportError] = []
    named = find_targets(artifacts, refused.append)
    by_option = {f"--{name.replace('_', '-')}": path for name, path in files.items()}
    check_output_files(by_option, (*named, *map(manifest_path, named), *against))
    if baseline is None and is_given(context, "max_growth"):
        raise UsageError("--max-growth is an option of --baseline")
    check_growth(max_growth)
    check_given_files({name: value for name, value in context.params.items() if not (against and name == "weights")})
    refuse_unreadable(*(named if len(named) == 1 else ()), *against)

    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.json_report import add_errors, parity_to_dict
    from exporter.reports.parity import print_reports
    from exporter.workflows.verify import verify_parity

    with progress_on_terminal() as progress:
        before = read_baseline(baseline) if baseline else None
        refuse = refused.append if len(named) + len(refused) > 1 else None
        reports = verify_parity(named, parity_options, reference, progress, ray, refuse)
    if before is not None:
        reports = check_baseline(before, max_growth, reports)
    show(reports, lambda reports: add_errors(parity_to_dict(reports), refused), print_reports, as_json=as_json)
    code = report_refused(refused)
    unwritten = write_files(reports, refused, **files, as_json=as_json)
    context.exit(unwritten or code or (0 if all(report.passed for report in reports) else 1))


def write_files(
    reports: tuple[ParityReport, ...],
    refused: Sequence[C3DExportError] = (),
    *,
    junit: Path | None = None,
    html: Path | None = None,
    save_baseline: Path | None = None,
    as_json: bool = False,
) -> int:
    """Write the results as the files that are not None; see `write_last`.

    A baseline is written only if everything passed, a page only of reports.
    """
    from exporter.parity import baseline
    from exporter.reports.html import write_page
    from exporter.reports.junit import write_junit
    from exporter.reports.parity_page import parity_page

    if save_baseline and (refused or not all(report.passed for report in reports)):
        print_line(f"--save-baseline {save_baseline}: not written, because parity failed")
        save_baseline = None
    files = (
        (save_baseline, partial(baseline.save_baseline, reports=reports)),
        (junit, partial(write_junit, reports=reports, refused=refused)),
        (html if reports else None, lambda file: write_page(file, lambda: parity_page(reports, refused=refused))),
    )
    return write_last(files, as_json=as_json)
