"""Options that several commands share, each defined once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from exporter.types import DEVICES, OPTIMIZE_FOR, WEIGHT_DTYPES
from models.config import OUTPUTS, POOL5_CONVENTIONS, Output

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_SEED = 2**63

EXISTING = click.Path(path_type=Path)
"""A path that the library checks itself, so that a missing file has one exit code everywhere."""


def json_options(command: Command) -> Command:
    """Add `--json` and `--debug`."""
    command = click.option("--debug", is_flag=True, help="Show the traceback of an error.", expose_value=False)(command)
    return click.option(
        "--json", "machine", is_flag=True, help="Print one JSON object on stdout, and nothing else there."
    )(command)


def parity_options(command: Command) -> Command:
    """Add `--device`, `--clip`, `--allow-fallback` and `--cache`."""
    command = click.option(
        "--cache",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Keep the float64 truth there, by hash of weights and input, for the next verification.",
    )(command)
    command = click.option(
        "--allow-fallback", is_flag=True, help="Accept nodes that ran on the CPU although --device cuda was asked for."
    )(command)
    command = click.option(
        "--clip",
        "clips",
        type=EXISTING,
        multiple=True,
        metavar="VIDEO",
        help="Verify on this video too (its first 16 frames; needs the [video] extra): a file, a folder of them, or a "
        "list (.txt, a path a line). Repeatable.",
    )(command)
    return click.option(
        "--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="Where the artifact is verified."
    )(command)


def optimize_options(command: Command) -> Command:
    """Add `--autotune`, `--optimize-for` and `--weight-dtype`."""
    for add in (
        click.option(
            "--weight-dtype",
            type=click.Choice(WEIGHT_DTYPES),
            default="fp32",
            show_default=True,
            help="How the ONNX file stores its weights: half or a quarter of the bytes, for some accuracy.",
        ),
        click.option(
            "--optimize-for",
            type=click.Choice(OPTIMIZE_FOR),
            default="size",
            show_default=True,
            help="For the CPU: a fast session load or a small file, where they conflict.",
        ),
        click.option(
            "--autotune",
            is_flag=True,
            help="For the CPU: choose between forms by measuring them on this machine, not by the cost model.",
        ),
    ):
        command = add(command)
    return command


def network_options(without_weights: str) -> Callable[[Command], Command]:
    """Add `--weights`, `--layout`, `--batch-norm` and `--pool5`; `without_weights` says what stands in for a file."""

    def add(command: Command) -> Command:
        command = click.option(
            "--pool5",
            type=click.Choice(POOL5_CONVENTIONS),
            default=None,
            help="pool5's window convention. [default: the checkpoint's layout's, else symmetric; Caffe's is right]",
        )(command)
        command = click.option(
            "--batch-norm", is_flag=True, help="The variant with a BatchNorm after each convolution."
        )(command)
        command = click.option(
            "--layout", default="auto", show_default=True, metavar="NAME", help="The checkpoint's origin, if not auto."
        )(command)
        return click.option(
            "--weights",
            type=Source(),
            default=None,
            metavar="FILE|URL",
            help="A checkpoint: PyTorch, safetensors, Caffe, Keras, TensorFlow, npz or ONNX; a file, https://… or "
            f"hf://owner/repo/file. [default: {without_weights}]",
        )(command)

    return add


class Source(click.ParamType["str | Path"]):
    """A checkpoint's place: a path, or an address, which a path would not survive (`//` becomes `/`)."""

    name = "source"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """Return the address as it is, anything else as a path."""
        return value if isinstance(value, Path) or "://" in value else Path(value)


class Outputs(click.ParamType[tuple[Output, ...]]):
    """A list of outputs, separated by commas."""

    name = "outputs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Output, ...]:
        """Return the outputs in the order given."""
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        named = [part.strip() for part in str(value).split(",")]
        for part in named:
            if part not in OUTPUTS:
                self.fail(f"{part!r} is not one of {', '.join(OUTPUTS)}", param, ctx)
        return tuple(output for part in named for output in OUTPUTS if output == part)


class Batch(click.ParamType["int | None"]):
    """A fixed batch size, or `dynamic`."""

    name = "batch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the size, or None for `dynamic`."""
        if value in (None, "dynamic"):
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'dynamic' nor a number", param, ctx)


class Seed(click.ParamType[int]):
    """A number that torch's and numpy's generators both take."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seed."""
        if str(value).isascii() and str(value).isdigit() and int(value) < MAX_SEED:
            return int(value)
        return self.fail(f"{value!r} is not a number from 0 to 2**63 - 1", param, ctx)
