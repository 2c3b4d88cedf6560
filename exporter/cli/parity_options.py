"""The options that only `verify parity` has: inputs, tolerance, reports."""

from pathlib import Path

import click

from exporter.cli.options import combine, given_input_options, seed_option
from exporter.cli.renamed import RENAMED_INPUT_TYPES
from exporter.cli.values import PATH, Choice, WholeNumber, parse_names
from exporter.engines import engine_names
from exporter.types import DEVICES, QUICK, EngineReference

FLOAT64 = "float64"


def parse_input_types(value: str) -> tuple[str, ...] | None:
    """Return the input types separated by commas, None for `all`; the library checks their names."""
    if value == "all":
        return None
    if value == "quick":
        return QUICK
    names = parse_names(value)
    for name in names:
        if name in ("all", "quick"):
            raise click.BadParameter(f"{name!r} stands for several types, and takes no other beside it")
        if name in RENAMED_INPUT_TYPES:
            raise click.BadParameter(f"{name!r} was renamed; use {RENAMED_INPUT_TYPES[name]!r}")
    return names


def parse_reference(value: str) -> EngineReference | Path | None:
    """Return what else to compare with: an engine, with its device after a colon, or a model file.

    None stands for `float64`, which every artifact is compared with.
    """
    if value == FLOAT64:
        return None
    name, _, device = value.partition(":")
    engines = ("torch", *engine_names())
    if name in engines:
        for known_device in DEVICES:
            if known_device == (device or "cpu"):
                return EngineReference(name, known_device)
        raise click.BadParameter(f"{value}: no such device; known are {', '.join(DEVICES)}")
    if Path(value).suffix:
        return Path(value)
    names = ", ".join((FLOAT64, *engines))
    raise click.BadParameter(f"{value}: neither an engine ({names}) nor a model file")


def parse_pair(value: str) -> tuple[str, str]:
    """Return the two names of OTHER=OWN, which may contain `=` only in the second."""
    other, equals, own = value.partition("=")
    if not (other and equals and own):
        raise click.BadParameter(f"{value}: give two names as OTHER=OWN")
    return other, own


input_options = combine(
    click.option(
        "--inputs",
        "input_types",
        type=parse_input_types,
        default="all",
        metavar="TYPES",
        help="Input types, separated by commas; all; or quick, which an export is verified on. "
        "docs/reference/parity.md lists them.",
    ),
    click.option(
        "--samples",
        type=WholeNumber(1, 100),
        default=1,
        help="How many inputs to generate of each random type.",
    ),
    click.option(
        "--batch",
        "batch_size",
        type=WholeNumber(1, 1024),
        metavar="N",
        help="Also run a batch of N inputs, the size that is deployed: engines choose algorithms by it. "
        "[default: batches of 1, 2 and 3]",
    ),
    seed_option("Seed of the random inputs."),
    given_input_options,
)
tolerance_options = combine(
    click.option(
        "--against",
        type=parse_reference,
        metavar="ENGINE|FILE",
        help="Compare with an engine too (torch, onnxruntime, openvino, onnx-reference; with :cuda after it), or with "
        "another model file instead of the network.",
    ),
    click.option(
        "--map",
        "pairs",
        type=parse_pair,
        multiple=True,
        metavar="OTHER=OWN",
        help="With --against FILE: an input or output of that file and the one of the artifact that corresponds. "
        "Repeatable. [default: by name, then by position]",
    ),
    click.option(
        "--engine",
        type=Choice(engine_names()),
        help="Engine that runs the artifact. [default: the one of its format]",
    ),
    click.option(
        "--rtol",
        type=float,
        help="Compare by |error| <= atol + rtol |float64| instead of by the measured error budget.",
    ),
    click.option("--atol", type=float, help="See --rtol."),
    click.option(
        "--min-snr",
        type=float,
        metavar="DB",
        help="Below fp32: the lowest signal-to-noise ratio on --clip and --array, or else on the packaged clip. "
        "[default: what the manifest records]",
    ),
    click.option(
        "--min-top1",
        type=float,
        metavar="FRACTION",
        help="Below fp32: the fraction of those whose highest class must be that of float64, from 0 to 1.",
    ),
    click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails."),
    click.option("--localize", is_flag=True, help="Name the first layer that diverges from float64."),
    click.option(
        "--determinism",
        is_flag=True,
        help="Report whether repeated runs, other batches and other thread counts give the same bits.",
    ),
)
report_options = combine(
    click.option("--junit", type=PATH, metavar="FILE", help="Write the results as JUnit XML."),
    click.option(
        "--html",
        type=PATH,
        metavar="FILE",
        help="Write the results with charts as one offline page. Needs the [report] extra.",
    ),
    click.option(
        "--baseline",
        type=PATH,
        metavar="FILE",
        help="Fail where an error has grown since --save-baseline wrote this file.",
    ),
    click.option("--save-baseline", type=PATH, metavar="FILE", help="Save the errors for --baseline."),
    click.option(
        "--max-growth",
        type=float,
        default=2.0,
        help="With --baseline: the largest accepted ratio of an error to the baseline's.",
    ),
)
