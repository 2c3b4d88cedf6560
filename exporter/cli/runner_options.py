"""Options of the commands that run on a Ray cluster, each defined once."""

from typing import Any

import click

from exporter.cli.options import choice_option, combine
from exporter.errors import UsageError
from exporter.inference.types import RayOptions

runner_options = combine(
    choice_option(
        "--runner",
        ("local", "ray"),
        "local",
        "In this process, or on workers of a Ray cluster, which take one video at a time. Needs the [ray] extra.",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="The cluster: host:6379, or auto for the one that runs here. "
        "[default: $RAY_ADDRESS, else a cluster of this run on this machine]",
    ),
    click.option(
        "--workers",
        type=int,
        metavar="N",
        help="At most this many workers, each with --threads processors. "
        "[default: as many as the cluster has room for]",
    ),
)
"""Where the videos run; `take_ray_options` reads them."""


def take_ray_options(options: dict[str, Any]) -> RayOptions | None:
    """Build `RayOptions` from the values of `runner_options`, and remove them; None for this process.

    Raises:
        UsageError: options of a cluster without one, or no worker.
    """
    runner, address, workers = (options.pop(name) for name in ("runner", "ray_address", "workers"))
    for option, value in (("--ray-address", address), ("--workers", workers)):
        if value is not None and runner != "ray":
            raise UsageError(f"{option} is for --runner ray")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be at least 1 (got {workers})")
    return RayOptions(address, workers) if runner == "ray" else None
