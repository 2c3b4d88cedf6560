"""`verify parity`: does an artifact answer as the network does?"""

from pathlib import Path
from typing import Any

import click

from exporter.cli.options import Seed, machine_options, network_options, parity_options
from exporter.errors import ArtifactError
from exporter.types import ParityOptions, ReferenceOptions


@click.group(no_args_is_help=True, context_settings={"max_content_width": 110})
def verify() -> None:
    """Check artifacts: verify parity."""


@verify.command(short_help="Does an artifact answer as the network does?")
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
@network_options("the manifest's")
@parity_options
@click.option("--seed", type=Seed(), default=0, show_default=True, help="Of the random clips.")
@machine_options
@click.pass_context
def parity(context: click.Context, artifacts: tuple[Path, ...], machine: bool, **options: Any) -> None:
    """Run ARTIFACTS and the network on the same clips, and judge by float64. Exit code 0 or 1.

    Without arguments, every artifact in ./artifacts. The network is rebuilt from each artifact's manifest; --weights
    names the checkpoint where the manifest's is elsewhere now, or where a file has no manifest (--layout, --batch-norm
    and --pool5 then describe it).

    \b
    Examples:
      verify parity
      verify parity artifacts/c3d.onnx --device cuda
      verify parity model.onnx --weights c3d.pth --clip holiday.mp4
    """
    from exporter.parity.verify import verify_parity
    from exporter.reports.console import echo, print_parity, progress_on_terminal, stdout
    from exporter.reports.machine import dump, parity_object

    reference = ReferenceOptions(options["weights"], options["layout"], options["batch_norm"], options["pool5"])
    wanted = ParityOptions(options["device"], options["seed"], options["clips"], options["allow_fallback"])
    with progress_on_terminal() as progress:
        reports = verify_parity(artifacts or found_in(Path("artifacts")), wanted, reference, progress)
    if machine:
        echo(dump(parity_object(reports)))
    else:
        for report in reports:
            print_parity(report, stdout())
    context.exit(0 if all(report.passed for report in reports) else 1)


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
