"""The ways to export a network that `bench --all` tries, in order: what most users want comes first."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from exporter.bench.deployment.types import MissingRow, Variant
from exporter.engines import find_engine
from exporter.errors import UnavailableError
from exporter.formats.base import Format
from exporter.types import FASTEST_TARGET, WEIGHT_DTYPES, ComputePrecision, Device, FormatName, Target

PRECISION_ORDER: tuple[ComputePrecision, ...] = ("fp32", "int8", "bf16", "fp16")
PORTABLE: Target = "portable"
STORING: FormatName = "onnx"
"""The format that has `--weight-dtype`."""


def list_variants(
    formats: Mapping[FormatName, Format], device: Device, wanted: Sequence[FormatName] = ()
) -> tuple[tuple[Variant, ...], tuple[MissingRow, ...]]:
    """Return the variants to try on a device, and what cannot be had here with the reason, before anything is written.

    Precisions that a format does not have are neither: docs/reference/formats.md lists them.

    Float32 comes first, then the precisions by how many users they serve. Files that only store their weights in fewer
    bits come last, and only for the target that is the fastest on the device.

    Args:
        formats: the formats that are known.
        device: where they are to run.
        wanted: the formats to try; empty for all.
    """
    targets = tuple(dict.fromkeys((FASTEST_TARGET[device], PORTABLE)))
    missing: list[MissingRow] = []
    here: dict[FormatName, Format] = {}
    for name, form in formats.items():
        if wanted and name not in wanted:
            continue
        try:
            find_engine(name).require_device(device)
            here[name] = form
        except UnavailableError as error:
            missing.append(MissingRow(name, str(error), "unavailable"))
    return (*_computing(here, targets), *_storing(here, targets[0])), tuple(missing)


def _computing(formats: Mapping[FormatName, Format], targets: Sequence[Target]) -> Iterator[Variant]:
    for precision, target, (name, form) in product(PRECISION_ORDER, targets, formats.items()):
        if form.precisions.get(precision) != "":
            continue
        rewriting = form.rewriting_targets.get(precision, frozenset()).intersection(targets)
        if target in rewriting or (rewriting and target == PORTABLE):
            yield Variant(name, precision, target)
        elif not rewriting and target == targets[0]:
            yield Variant(name, precision)


def _storing(formats: Mapping[FormatName, Format], target: Target) -> Iterator[Variant]:
    if STORING in formats:
        for dtype in WEIGHT_DTYPES[1:]:
            yield Variant(STORING, "fp32", target, dtype)
