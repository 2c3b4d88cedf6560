"""The options for what an artifact computes in, and how accurate it must be."""

from typing import Any

import click

from exporter.cli.options import choice_option, combine
from exporter.cli.values import parse_source
from exporter.types import COMPUTE_PRECISIONS, MIN_SNR, CalibrationOptions, PrecisionOptions

_DEFAULTS = ", ".join(f"{name} {value:g}" for name, value in MIN_SNR.items())

accuracy_options = combine(
    click.option(
        "--min-snr",
        type=float,
        metavar="DB",
        help=f"Publish only if the signal-to-noise ratio on held-out clips is at least this. [default: {_DEFAULTS}]",
    ),
    click.option(
        "--min-top1",
        type=float,
        metavar="FRACTION",
        help="The fraction of held-out clips whose highest class must be that of float64, from 0 to 1.",
    ),
    click.option(
        "--calibrate",
        "calibration_clips",
        type=parse_source,
        multiple=True,
        metavar="VIDEO",
        help="Measure value ranges on this video (needs the [video] extra): a file, a folder of videos, a list (.txt, "
        "one path per line), or a URL. Repeatable. Some of its clips are held out to evaluate the result.",
    ),
    click.option(
        "--calibration-samples", type=int, metavar="N", help="Clips to take from --calibrate, held-out ones included."
    ),
)
"""How accurate precisions below float32 must be, and the clips that they are calibrated and evaluated on."""

precision_options = combine(
    choice_option(
        "--precision",
        COMPUTE_PRECISIONS,
        "fp32",
        "What the artifact computes in. Below fp32: less exact, faster where the hardware has such arithmetic.",
    ),
    accuracy_options,
)


def take_precision_options(options: dict[str, Any]) -> PrecisionOptions:
    """Build `PrecisionOptions` from the values of `precision_options`, and remove them from `options`."""
    calibration = CalibrationOptions(options.pop("calibration_clips"), options.pop("calibration_samples"))
    return PrecisionOptions(options.pop("precision"), options.pop("min_snr"), options.pop("min_top1"), calibration)
