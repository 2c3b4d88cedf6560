"""`verify integrity`: are the files the ones that were exported?"""

from pathlib import Path
from typing import Any

import click

from exporter.cli.options import PATH, json_options, limit_options
from exporter.cli.provenance_options import load_options
from exporter.cli.sections import SectionedCommand


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
@limit_options()
@json_options
@click.pass_context
def integrity_command(
    context: click.Context, artifacts: tuple[Path, ...], as_json: bool, junit: Path | None, **options: Any
) -> None:
    """Compare every file of ARTIFACTS with the size and SHA-256 in its manifest, and each weight with its own hash.

    Nothing runs and no engine is loaded, so it takes about as long as sha256sum. Without arguments, every artifact in
    ./artifacts is checked. A file without a manifest fails. Exit code 0 or 1; 3 where a manifest cannot be read.

    \b
    Examples:
      verify integrity
      verify integrity artifacts/c3d.onnx --deep
      verify integrity artifacts/*.onnx --junit integrity.xml
    """
    from exporter.artifacts.files import manifest_path
    from exporter.output_targets import check_output_file
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.integrity import integrity_to_dict, print_integrity, write_integrity_junit
    from exporter.workflows.integrity import find_integrity_targets, verify_integrity

    if junit:
        check_output_file(junit, "--junit", (*artifacts, *map(manifest_path, artifacts)))
    with progress_on_terminal() as progress:
        named = artifacts or find_integrity_targets(Path("artifacts"))
        reports = verify_integrity(named, progress=progress, **options)
    show(reports, integrity_to_dict, print_integrity, as_json=as_json)
    if junit:
        write_integrity_junit(junit, reports)
    passed = all(report.passed for report in reports)
    context.exit(3 if any(report.bad_manifest for report in reports) else 0 if passed else 1)
