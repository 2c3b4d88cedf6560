"""Options that several commands share, each defined once, and the parsers of their values."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from exporter.cli.values import PATH, Choice, parse_source
from exporter.errors import UnavailableError
from exporter.isolation.supervisor import can_supervise
from exporter.isolation.worker import set_max_memory, set_timeout
from exporter.types import DEVICES, OPTIMIZE_FOR, WEIGHT_DTYPES, BatchProfile, InputOptions, ValueRange
from models.config import OUTPUTS
from models.text import format_memory

Command = TypeVar("Command", bound=Callable[..., Any])
Options = TypeVar("Options")

MAX_SEED = 2**63
MIN_MEMORY = 100_000_000
"""Bytes: with less, a command ends before it has read a file; `verify integrity` of a small one takes nearly that."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


def combine(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds options in the order in which `--help` lists them."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def take(kind: type[Options], options: dict[str, Any]) -> Options:
    """Build a dataclass from the options named like its fields, and remove them from `options`."""
    names = {field.name for field in fields(kind)} & options.keys()  # pyright: ignore[reportArgumentType]
    return kind(**{name: options.pop(name) for name in names})


def is_given(context: click.Context, name: str) -> bool:
    """Return whether an option with a default was given on the command line, with whatever value."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def parse_outputs(value: str) -> tuple[str, ...]:
    """Return the outputs, in the order given."""
    names = tuple(name.strip() for name in value.split(","))
    for name in names:
        if name not in OUTPUTS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(OUTPUTS)}")
    return names


def parse_batch(value: str) -> int | BatchProfile | None:
    """Return the batch size, the range of batch sizes, or None for `dynamic`."""
    try:
        if ":" in value:
            optimal, largest = map(int, value.split(":"))
            return BatchProfile(optimal, largest)
        return None if value == "dynamic" else int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither 'dynamic', a whole number, nor of the form 8:32") from None


def parse_ints(value: str) -> tuple[int, ...]:
    """Return whole numbers separated by commas; the library checks them."""
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not of the form 1,4") from None


def parse_seed(value: str | int) -> int:
    """Return a seed that torch's and numpy's generators both take."""
    if str(value).isascii() and str(value).isdigit() and int(value) < MAX_SEED:
        return int(value)
    raise click.BadParameter(f"{value!r} is not a whole number from 0 to 2**63 - 1")


def parse_shape(value: str) -> tuple[str, tuple[int, ...]]:
    """Return the name and the shape of `input=1x3x16x112x112`."""
    found = re.fullmatch(r"(.+)=(\d+(?:x\d+)*)", value)
    if not found or "0" in found[2].split("x"):
        raise click.BadParameter(f"{value!r} is not of the form input=1x3x224x224")
    return found[1], tuple(map(int, found[2].split("x")))


def choice_option(name: str, choices: tuple[str, ...], default: str, help_text: str) -> Callable[[Command], Command]:
    """Return an option with a fixed list of values."""
    return click.option(name, type=Choice(choices), default=default, help=help_text)


def device_option(help_text: str) -> Callable[[Command], Command]:
    """Return the option `--device`; without it, the engine's first device is used."""
    return click.option("--device", type=Choice(DEVICES), help=f"{help_text} [default: cpu; for TensorRT engines cuda]")


def seed_option(help_text: str) -> Callable[[Command], Command]:
    """Return the option `--seed`."""
    return click.option("--seed", type=parse_seed, default=0, metavar="N", help=help_text)


def parse_feed(value: str) -> tuple[str, Path | ValueRange]:
    """Return the input and its values of `ids=ids.npy`, `scale=0.5` or `ids=0..99`."""
    name, _, given = value.partition("=")
    numbers = re.fullmatch(rf"({NUMBER})(?:\.\.({NUMBER}))?", given)
    if name and not numbers and (Path(given).suffix or Path(given).is_file()):
        return name, Path(given)
    if not (name and numbers):
        raise click.BadParameter(f"{value!r} is not of the form input=FILE.npy, input=0.5 or input=0..99")
    low, high = (_number(text) for text in (numbers[1], numbers[2] or numbers[1]))
    if low > high:
        raise click.BadParameter(f"{value!r}: {low} is above {high}")
    return name, ValueRange(low, high)


def parse_size(value: str) -> int:
    """Return the bytes of a size such as `8GB`, `512MB` or `2GiB`; a number without a unit is of bytes.

    Raises:
        BadParameter: it is none, or less than MIN_MEMORY.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", value.strip(), re.IGNORECASE)
    if match is None:
        raise click.BadParameter(f"{value!r}: write a size such as 8GB or 512MB")
    number, prefix, binary = match.groups()
    size = int(float(number) * (1024 if binary else 1000) ** ("KMGT".find(prefix.upper()) + 1 if prefix else 0))
    if size < MIN_MEMORY:
        raise click.BadParameter(
            f"{value!r}: any command takes {format_memory(MIN_MEMORY)} before it has read a file; give that or more"
            f"{'' if prefix else f', with the unit: {number}GB or {number}MB'}"
        )
    return size


def parse_seconds(value: str) -> float:
    """Return a number of seconds, 0 for no limit.

    Raises:
        BadParameter: it is none.
    """
    if re.fullmatch(NUMBER, value) is None or not 0 <= float(value) < math.inf:
        raise click.BadParameter(f"{value!r}: write seconds such as 60 or 0.5; 0 for no limit")
    return float(value)


def limit_options(estimate: str = "") -> Callable[[Command], Command]:
    """Return the options `--timeout` and `--max-memory`, which the supervisor of the command enforces.

    Args:
        estimate: what the command does with `--max-memory` beside that, as a sentence; the command then gets its value
            as `max_memory`.
    """

    def callback(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
        del context
        if value is not None:
            if not can_supervise():
                raise UnavailableError(f"{parameter.opts[0]}: this system cannot start a process that can be watched")
            (set_timeout(value) if parameter.name == "timeout" else set_max_memory(int(value)))
        return value

    return combine(
        click.option(
            "--timeout",
            type=parse_seconds,
            metavar="SECONDS",
            callback=callback,
            expose_value=False,
            help="End the command after this time (exit code 5); 0: no limit. [default: 5 minutes and more for each "
            "call of a library on a file, by the sizes of the file and of the graph]",
        ),
        click.option(
            "--max-memory",
            type=parse_size,
            metavar="SIZE",
            callback=callback,
            expose_value=bool(estimate),
            help="End the command when its processes hold more memory (exit code 5): 8GB, 512MB or 2GiB; a number "
            f"alone is bytes. {estimate}[default: nine tenths of what is available, and 8 GiB and more for each call "
            "of a library]",
        ),
    )


def check_output_files(files: Mapping[str, str | Path | None], inputs: Sequence[str | Path]) -> None:
    """Check, before anything runs, that {option: file} can be written, and that a page's libraries are installed.

    Raises:
        OutputError: a file cannot be written.
        UsageError: one is among the inputs, or two options name the same one.
        UnavailableError: a library is missing.
    """
    from exporter.output_targets import check_distinct, check_output_file
    from exporter.reports.html import require_page

    for option, path in files.items():
        if path is not None:
            require_page(path, inputs) if option == "--html" else check_output_file(path, option, inputs)
    check_distinct(files)


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def take_inputs(options: dict[str, Any]) -> InputOptions:
    """Build `InputOptions` from the values of `given_input_options`, and remove them from `options`."""
    return InputOptions(dict(options.pop("shapes")), dict(options.pop("feeds")), options.pop("arrays"))


given_input_options = combine(
    click.option(
        "--shape",
        "shapes",
        type=parse_shape,
        multiple=True,
        metavar="INPUT=SHAPE",
        help="The shape of an input with dynamic sizes, batch included: image=1x3x224x224. Repeatable.",
    ),
    click.option(
        "--feed",
        "feeds",
        type=parse_feed,
        multiple=True,
        metavar="INPUT=FILE|VALUE|RANGE",
        help="The values of an input, instead of those of --inputs: an .npy file, a number, or random numbers from a "
        "range such as 0..99. Repeatable.",
    ),
    click.option(
        "--array",
        "arrays",
        type=PATH,
        multiple=True,
        metavar="NPZ",
        help="Run these inputs too (bench: the rows of the first file instead of drawn ones): an .npz file with an "
        "array for each input, one input per row. Repeatable.",
    ),
)
"""The inputs that the user gives; `take_inputs` reads them."""

json_options = combine(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error.", expose_value=False),
)
device_options = combine(
    device_option("Device on which the artifact is verified."),
    click.option(
        "--clip",
        "clips",
        type=parse_source,
        multiple=True,
        metavar="VIDEO",
        help="Verify on this video too (its first frames; needs the [video] extra): a file, a folder of videos, a "
        "list (.txt, one path per line), or the URL of one. Repeatable.",
    ),
    click.option(
        "--allow-fallback", is_flag=True, help="Accept nodes that ran on the CPU although --device cuda was given."
    ),
    click.option(
        "--cache",
        type=PATH,
        metavar="FOLDER",
        help="Keep the float64 reference outputs in this folder, and reuse them for the same weights and inputs.",
    ),
)
optimize_options = combine(
    click.option(
        "--autotune",
        is_flag=True,
        help="For CPUs: choose between variants by measuring them on this machine instead of by the cost model.",
    ),
    choice_option(
        "--optimize-for",
        OPTIMIZE_FOR,
        "size",
        "For CPUs: prefer a fast session load or a small file, where they conflict.",
    ),
    choice_option(
        "--weight-dtype",
        WEIGHT_DTYPES,
        "fp32",
        "How the ONNX file stores its weights: fp16 halves and int8 quarters the file, at some loss of accuracy.",
    ),
)
