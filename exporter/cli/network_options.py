"""Options that say which network a command takes: its checkpoint, which tensors of it, and what they leave open."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.cli.options import Command, combine, take
from exporter.cli.values import PATH, Choice, parse_source
from exporter.errors import BadInputError
from models.class_names import CLASS_LISTS
from models.options import BuildOptions, WeightSelection
from models.pooling import POOL5_CONVENTIONS, VARIANTS

MAX_KEY_MAP_BYTES = 1 << 20
MAX_SIZE_DIGITS = 6


def take_build_options(options: dict[str, Any]) -> BuildOptions:
    """Build `BuildOptions` from the values of `network_options` or `selection_options`, and remove them."""
    options["key_map"] = tuple(entry for entries in options.pop("key_map", ()) for entry in entries)
    options["selection"] = take(WeightSelection, options)
    return take(BuildOptions, options)


def parse_input_size(value: str) -> tuple[int, ...]:
    """Return the numbers of `3x16x112x112`, or of `16x112x112`; a capital X does, too."""
    if not re.fullmatch(r"[0-9]+(?:x[0-9]+){2,3}", value, re.IGNORECASE):
        raise click.BadParameter(f"{value!r} is not of the form 3x16x112x112 (CxTxHxW) or 16x112x112 (TxHxW)")
    if any(not 1 <= len(part.lstrip("0")) <= MAX_SIZE_DIGITS for part in value.lower().split("x")):
        raise click.BadParameter(f"{value!r}: each number must be from 1 to {10**MAX_SIZE_DIGITS - 1}")
    return tuple(map(int, value.lower().split("x")))


def parse_key_map(value: str) -> tuple[str, ...]:
    """Return the entries of `OLD=NEW`, or of a file with one on each line; `#` begins a comment."""
    if "=" in value and not Path(value).is_file():
        return (value,)
    from models.paths import read_small_file

    try:
        content = read_small_file(Path(value), "file of names", MAX_KEY_MAP_BYTES, BadInputError)
        lines = content.decode().splitlines()
    except (BadInputError, UnicodeDecodeError) as error:
        raise click.BadParameter(
            f"{value!r} is neither OLD=NEW nor a text file with one such entry a line ({error})"
        ) from error
    return tuple(entry for line in lines if (entry := line.partition("#")[0].strip()))


selection_options = combine(
    click.option(
        "--layout",
        default="auto",
        metavar="NAME",
        help="Origin of the checkpoint (c3d-export layouts lists them), if it cannot be detected.",
    ),
    click.option(
        "--key",
        metavar="PATH",
        help="Which dict of the checkpoint holds the weights, where it holds several networks: model, net.state_dict, "
        "0. [default: the usual one]",
    ),
    click.option(
        "--prefix",
        metavar="TEXT",
        help="Which prefix of names in that dict is the network's: module., encoder_q. [default: found]",
    ),
    click.option("--ema", is_flag=True, help="Take the average over the training (EMA, SWA), not the last weights."),
    click.option(
        "--ignore",
        multiple=True,
        metavar="PATTERN",
        help="Leave out tensors that are not C3D's: 'aux_head.*'. C3D's own are never left out. Repeatable.",
    ),
    click.option(
        "--key-map",
        type=parse_key_map,
        multiple=True,
        metavar="OLD=NEW|FILE",
        help="The checkpoint calls a layer or tensor OLD, this tool NEW: regressor=fc8. If only one side is a name of "
        "this tool, the order does not matter. A file has one such entry on each line. Repeatable.",
    ),
)
"""Which tensors of a checkpoint are the network's; `take_build_options` reads them."""


head_options = combine(
    click.option("--num-classes", type=int, help="Number of outputs of fc8. [default: the checkpoint's, else 101]"),
    click.option(
        "--new-head", is_flag=True, help="Newly initialise fc8 if the checkpoint has none or another number of classes."
    ),
)
"""The last layer of an exported network."""
labels_option = click.option(
    "--labels",
    metavar="NAME|FILE",
    help=f"Names of the classes, in the order of the scores: {', '.join(row.name for row in CLASS_LISTS)}, or a text "
    "file with one name a line, or JSON. [default: those of the artifact, or of the checkpoint's origin if known]",
)
"""Names of the classes; `models.class_names.load_class_names` reads them."""

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


geometry_options = combine(
    click.option(
        "--batch-norm",
        is_flag=True,
        help="Use the network with a BatchNorm after each convolution; of a checkpoint it is detected.",
    ),
    click.option(
        "--pool5",
        type=Choice(POOL5_CONVENTIONS),
        help="Padding convention of pool5. [default: that of the checkpoint's layout, else symmetric; Caffe's is "
        "right, VMZ's valid]",
    ),
    click.option(
        "--input-size",
        type=parse_input_size,
        metavar="CxTxHxW",
        help="Channels, frames, height and width of a clip, or TxHxW. [default: what the checkpoint's shapes "
        "state, else 3x16x112x112]",
    ),
    click.option(
        "--variant",
        type=Choice(VARIANTS),
        help="The published network, or a relative: with pool5 as a global average (video-clip-order-prediction), or "
        "that of Efficient-3DCNNs. [default: the checkpoint's, else c3d]",
    ),
)
"""What a checkpoint's tensors may leave open of its network."""


def network_options(without_weights: str) -> Callable[[Command], Command]:
    """Return `--weights`, the options of `selection_options`, and what describes the network: `--pool5` and its like.

    Args:
        without_weights: what is used where `--weights` is not given, for its help text.
    """
    return combine(
        click.option(
            "--weights",
            type=parse_source,
            metavar="FILE|URL",
            help="A checkpoint: PyTorch, safetensors, Caffe, Keras, TensorFlow, npz or ONNX; a file, https://… or "
            f"hf://owner/repo/file. [default: {without_weights}]",
        ),
        selection_options,
        geometry_options,
    )
