"""`c3d-export bench --all`: its own options, and what it makes of those that it shares with `bench` and the export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exporter.bench.deployment.types import DeploymentRequest
from exporter.bench.types import BenchRequest
from exporter.cli.network_options import (
    head_options,
    labels_option,
    network_options,
    preprocess_options,
    take_build_options,
)
from exporter.cli.options import combine, parse_outputs, take
from exporter.cli.precision_options import accuracy_options, take_precision_options
from exporter.cli.values import PATH, Choice
from exporter.types import FORMAT_NAMES, InputOptions
from models.config import OUTPUTS

bench_all_options = combine(
    click.option(
        "--all",
        "everything",
        is_flag=True,
        help="Export every format and precision that can run here, verify and measure them, and recommend one.",
    ),
    click.option(
        "--format",
        "formats",
        type=Choice(FORMAT_NAMES),
        multiple=True,
        help="With --all: only this format. Repeatable. [default: all]",
    ),
    click.option(
        "--work-dir",
        type=PATH,
        metavar="FOLDER",
        help="With --all: keep the artifacts here. [default: a folder in the cache, removed at the end]",
    ),
    click.option(
        "--export-seconds",
        type=float,
        metavar="S",
        help="With --all: start no export after this many seconds; the same command continues with the rest.",
    ),
    network_options("the artifact's checkpoint; with --all and no artifact, random weights"),
    head_options,
    labels_option,
    preprocess_options,
    click.option(
        "--outputs",
        type=parse_outputs,
        metavar="NAMES",
        help=f"What the artifacts return, separated by commas: {', '.join(OUTPUTS)}. [default: the artifact's, or "
        "logits]",
    ),
    click.option("--opset", type=int, help="ONNX opset of the ONNX files. [default: the artifact's, or 17]"),
    click.option(
        "--external-data",
        is_flag=True,
        default=None,
        help="Store ONNX weights in a separate file. [default: as the artifact does]",
    ),
    accuracy_options,
)
"""What `bench` takes for `--all`; `--weights` also serves `--engines`."""

_OPTIONS = {option.name for option in click.command("all")(bench_all_options(lambda: None)).params}
ONLY_WITH_ALL = _OPTIONS - {"everything", "weights"}
TABLE_OPTIONS = ("outputs", "opset", "external_data", "formats", "work_dir", "export_seconds")
"""Fields of `DeploymentRequest` that are options of the same name."""
NOT_WITH_ALL = ("shapes", "feeds", "arrays", "engine_model")


def check_given(context: click.Context, *, everything: bool) -> None:
    """Refuse options that mean nothing with `--all`, or without it.

    Raises:
        UsageError: the message names the first of them.
    """
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is click.core.ParameterSource.DEFAULT:
            continue
        if option.name in ONLY_WITH_ALL and not everything:
            raise click.UsageError(f"{option.opts[0]} applies only with --all")
        if option.name in NOT_WITH_ALL and everything:
            raise click.UsageError(f"{option.opts[0]} does not go with --all, which measures on clips of its own")


def take_request(artifacts: tuple[Path, ...], options: dict[str, Any]) -> DeploymentRequest:
    """Build the request of `bench --all` from the values of all options of `bench`.

    Raises:
        UsageError: more than one artifact.
    """
    if len(artifacts) > 1:
        raise click.UsageError(f"--all takes one artifact (got {len(artifacts)}): its network is exported in every way")
    options |= {"precision": "fp32", "engine_python": dict(options["engine_python"])}
    precision = take_precision_options(options)
    measure = take(BenchRequest, {"artifacts": (), **options, "inputs": InputOptions()})
    if artifacts:
        del options["expect_sha256"]  # it is the artifact's, otherwise the checkpoint's
    return DeploymentRequest(
        model=take_build_options(options),  # with --seed, which is also that of the order within a round
        artifact=artifacts[0] if artifacts else None,
        precision=precision,
        measure=measure,
        **{name: options.pop(name) for name in TABLE_OPTIONS},
    )
