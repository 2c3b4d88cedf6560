"""Options of the commands that run a model over videos, each defined once."""

from typing import Any

import click

from exporter.cli.network_options import labels_option, preprocess_options
from exporter.cli.options import (
    choice_option,
    combine,
    device_option,
)
from exporter.cli.provenance_options import artifact_hash_option, load_options
from exporter.cli.values import Choice, parse_names
from exporter.engines import engine_names
from exporter.errors import UsageError
from exporter.inference.types import ClipOptions, RayOptions
from exporter.video.sampling import SHORT, parse_length

EVERY_FRAME = "jfzhang95"
"""The profile with a step of one frame; `models.preprocessing` is not imported for `--help`."""


engine_options = combine(
    click.option(
        "--engine",
        type=Choice(engine_names()),
        help="Engine that runs the model. [default: the first that runs the file: onnxruntime for ONNX]",
    ),
    device_option("Device on which the model runs."),
    click.option("--threads", type=int, metavar="N", help="Threads of the engine. [default: the engine's own]"),
    click.option(
        "--batch",
        type=int,
        metavar="N",
        help="Clips in one call of the model. [default: the model's if it is fixed, else 1 on a CPU and 8 on a GPU]",
    ),
    preprocess_options,
    load_options,
    artifact_hash_option,
)
"""How the model runs, whatever its outputs are: fields of `InferenceOptions`."""
inference_options = combine(
    engine_options,
    labels_option,
    click.option(
        "--outputs",
        type=parse_names,
        metavar="NAMES",
        help="Use these outputs of the model only, separated by commas. [default: all]",
    ),
)
"""How the model runs: fields of `InferenceOptions`."""

clip_options = combine(
    click.option(
        "--window",
        metavar="N|SECONDS",
        help="What a clip covers: frames (32) or seconds (0.64s), of which the network's frames are taken evenly. "
        "[default: the profile's]",
    ),
    click.option(
        "--step",
        metavar="N|SECONDS",
        help="From the start of a clip to that of the next: frames (16) or seconds (1s). The fewer, the longer it "
        f"takes. [default: the profile's, which is every frame for {EVERY_FRAME}; else the window]",
    ),
    click.option(
        "--clips", type=int, metavar="N", help="This many clips, evenly spaced over the video, in place of --step."
    ),
    choice_option(
        "--short",
        SHORT,
        "repeat",
        "A video shorter than one clip: start again from its first frame, hold the last one (pad), or skip the video.",
    ),
)
"""How clips are taken from a video; `take_clip_options` reads them."""


def take_clip_options(options: dict[str, Any]) -> ClipOptions:
    """Build `ClipOptions` from the values of `clip_options`, and remove them.

    Raises:
        UsageError: a window or a step is neither frames nor seconds.
    """
    window, step = (
        None if (text := options.pop(name)) is None else parse_length(text, f"--{name}") for name in ("window", "step")
    )
    return ClipOptions(window, step, options.pop("clips"), options.pop("short"))


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
