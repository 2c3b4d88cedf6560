"""The options that say how frames become a clip: a profile, and a mean file."""

import click

from exporter.cli.options import PATH, combine

preprocess_options = combine(
    click.option(
        "--preprocess",
        metavar="NAME|FILE",
        help="Preprocessing profile: one that c3d-export layouts --profiles lists, or a .json or .toml file with the "
        "same fields. [default: the checkpoint's]",
    ),
    click.option(
        "--mean",
        type=PATH,
        metavar="FILE",
        help="Mean of each pixel, subtracted instead of the profile's channel means: .npy (3xTxHxW or TxHxWx3) or "
        "Caffe's .binaryproto.",
    ),
)
"""Their values are `preprocess` and `mean`, as `BuildOptions` and `InferenceOptions` call them."""
