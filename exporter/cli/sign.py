"""`c3d-export sign`: sign artifacts that exist."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import json_options, limit_options
from exporter.cli.provenance_options import read_signing_key, sign_key_option, verify_key_option
from exporter.cli.sections import SectionedCommand
from exporter.cli.values import PATH


@click.command("sign", cls=SectionedCommand)
@click.argument("artifacts", nargs=-1, required=True, type=PATH)
@sign_key_option(required=True)
@verify_key_option
@limit_options()
@json_options
def sign_command(artifacts: tuple[Path, ...], sign_key: Path, as_json: bool, **options: Any) -> None:
    """Sign the manifests of ARTIFACTS (files, or folders with them), as export does with --sign-key.

    Each is first checked as `verify integrity` checks it; none is signed unless all pass (exit code 1). Model files
    stay as they are. The parity that a manifest states is signed as it is, not computed again: `verify parity` does
    that. Another key's signature is replaced only where --verify-key names that key, and it holds.

    \b
    Examples:
      c3d-export sign artifacts/c3d.onnx --sign-key sign.key
      c3d-export sign artifacts --sign-key new.key --verify-key old.pub
    """
    from exporter.reports.console import progress_on_terminal, show
    from exporter.reports.integrity import print_signed
    from exporter.workflows.sign import sign_artifacts
    from exporter.workflows.targets import find_targets

    signing_key = read_signing_key(sign_key)
    assert signing_key is not None
    with progress_on_terminal() as progress:
        named = find_targets(artifacts, missing=True)
        result = sign_artifacts(named, signing_key, progress=progress, **options)
    show(result, asdict, print_signed, as_json=as_json)
