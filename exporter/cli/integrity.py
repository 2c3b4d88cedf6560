"""`verify integrity`: are the files the ones that were exported?"""

from pathlib import Path
from typing import Any

import click

from exporter.cli.error_handling import report_refused
from exporter.cli.options import PATH, check_output_files, json_options, limit_options
from exporter.cli.provenance_options import artifact_hash_option, load_options
from exporter.cli.sections import SectionedCommand
from exporter.errors import C3DExportError


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
    from exporter.workflows.targets import find_integrity_targets, find_targets

    refused: list[C3DExportError] = []
    named = find_targets(artifacts, find_integrity_targets, refused.append)
    check_output_files({"--junit": junit}, (*named, *map(manifest_path, named)))
    with progress_on_terminal() as progress:
        refuse = refused.append if len(named) + len(refused) > 1 else None
        reports = verify_integrity(named, progress=progress, refuse=refuse, **options)
    show(reports, lambda reports: add_errors(integrity_to_dict(reports), refused), print_integrity, as_json=as_json)
    code = report_refused(refused)
    if junit:
        write_integrity_junit(junit, reports, refused)
    passed = all(report.passed for report in reports)
    context.exit(3 if any(report.bad_manifest for report in reports) else code or (0 if passed else 1))
