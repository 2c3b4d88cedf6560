"""The manifest's option `raised_layers`: the layers that compute in a higher precision than the artifact does."""

from __future__ import annotations

import re
from collections.abc import Iterable

from exporter.types import COMPUTE_PRECISIONS, ComputePrecision

_ENTRY = re.compile(r"(.+): (fp32|fp16|bf16|int8), \+?(-?(?:\d+(?:\.\d+)?|inf)) dB", re.DOTALL)


def raised_entry(layer: str, precision: ComputePrecision, gain_db: float) -> str:
    """Return the entry of a layer: `fc6: fp32, +3.2 dB`."""
    return f"{layer}: {precision}, {gain_db:+.1f} dB"


def parse_raised(entries: Iterable[str]) -> dict[str, tuple[ComputePrecision, float]]:
    """Return {layer: (what it computes in, decibels that raising it gained)}; what is no entry is left out."""
    known: dict[str, ComputePrecision] = {name: name for name in COMPUTE_PRECISIONS}
    found = map(_ENTRY.fullmatch, entries)
    return {entry[1]: (known[entry[2]], float(entry[3])) for entry in found if entry}
