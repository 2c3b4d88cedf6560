"""The options of `verify parity` alone: inputs, judgement, reports."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from exporter.cli.options import EXISTING, Seed
from exporter.types import COMPARISON_ENGINES, DEVICES, ENGINE_NAMES, EngineReference

FLOAT64 = "float64"

Command = TypeVar("Command", bound=Callable[..., Any])

QUICK = ("random", "zeros", "saturated", "video")
"""Repeated from `exporter.parity.inputs`, because `--help` must not wait for it; a test holds them together."""


class InputTypes(click.ParamType["tuple[str, ...] | None"]):
    """A list of kinds of inputs, separated by commas; `all` is None."""

    name = "kinds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...] | None:
        """Return the kinds; the library checks them."""
        if value is None or value == "all":
            return None
        if not isinstance(value, str):
            return value
        return QUICK if value == "quick" else tuple(part.strip() for part in value.split(","))


class Reference(click.ParamType["EngineReference | Path | None"]):
    """What to compare with: an engine, with `:device` after it, or a model file."""

    name = "reference"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> EngineReference | Path | None:
        """Return the engine or the path; None for `float64`, which is what is compared with anyway."""
        if not isinstance(value, str):
            return value
        if value == FLOAT64:
            return None
        name, _, device = value.partition(":")
        for known in COMPARISON_ENGINES:
            if known != name:
                continue
            for known_device in DEVICES:
                if known_device == (device or "cpu"):
                    return EngineReference(known, known_device)
            self.fail(f"{value}: no such device; known are {', '.join(DEVICES)}", param, ctx)
        if Path(value).suffix:
            return Path(value)
        names = ", ".join((FLOAT64, *COMPARISON_ENGINES))
        return self.fail(f"{value}: neither an engine ({names}) nor a model file", param, ctx)


class Shape(click.ParamType[tuple[str, tuple[int, ...]]]):
    """`input=1x3x16x112x112`."""

    name = "shape"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Return the input's name and its shape."""
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"(.+)=(\d+(?:x\d+)*)", value)
        if not found or "0" in found[2].split("x"):
            self.fail(f"{value!r} is not like input=1x3x224x224", param, ctx)
        return found[1], tuple(map(int, found[2].split("x")))


def input_options(command: Command) -> Command:
    """Add `--inputs`, `--array`, `--samples`, `--seed` and `--shape`."""
    for add in (
        click.option(
            "--shape",
            "shapes",
            type=Shape(),
            multiple=True,
            metavar="INPUT=SIZES",
            help="With --against FILE: the sizes of an input that its file leaves free. Repeatable.",
        ),
        click.option("--seed", type=Seed(), default=0, show_default=True, help="Of the random inputs."),
        click.option(
            "--samples", type=click.IntRange(1, 100), default=1, show_default=True, help="Draws of each random kind."
        ),
        click.option(
            "--array",
            "arrays",
            type=EXISTING,
            multiple=True,
            metavar="NPZ",
            help="Verify on these inputs too: an .npz file, a row each. Repeatable.",
        ),
        click.option(
            "--inputs",
            "input_types",
            type=InputTypes(),
            default="all",
            show_default=True,
            metavar="KINDS",
            help="all, quick (what an export is checked on), or kinds separated by commas; docs/parity.md lists them.",
        ),
    ):
        command = add(command)
    return command


def tolerance_options(command: Command) -> Command:
    """Add what decides the verdict and what else is found out."""
    for add in (
        click.option(
            "--determinism",
            is_flag=True,
            help="Tell whether repeats, batches and threads give the same bits.",
        ),
        click.option("--localize", is_flag=True, help="Name the first layer that leaves the truth."),
        click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails."),
        click.option("--atol", type=float, help="See --rtol."),
        click.option(
            "--rtol",
            type=float,
            help="Judge by |error| <= atol + rtol |truth| instead of the measured budget.",
        ),
        click.option(
            "--engine",
            type=click.Choice(ENGINE_NAMES),
            help="The engine that runs the artifact. [default: its format's own]",
        ),
        click.option(
            "--against",
            type=Reference(),
            metavar="RUNTIME|FILE",
            help="Hold it against an engine too (torch, onnxruntime, openvino, onnx-reference; :cuda after it), or "
            "against another model file instead of the network.",
        ),
    ):
        command = add(command)
    return command


def report_options(command: Command) -> Command:
    """Add `--junit`, `--html` and the baseline."""
    for add in (
        click.option(
            "--max-growth",
            type=float,
            default=2.0,
            show_default=True,
            help="How many times the baseline's an error may be.",
        ),
        click.option(
            "--save-baseline",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Keep the errors for --baseline.",
        ),
        click.option(
            "--baseline",
            type=EXISTING,
            metavar="FILE",
            help="Fail where an error grew since --save-baseline.",
        ),
        click.option(
            "--html",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write a page to look at: one file, offline, with pictures. Needs the extra [report].",
        ),
        click.option(
            "--junit",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write the verdicts as JUnit XML.",
        ),
    ):
        command = add(command)
    return command
