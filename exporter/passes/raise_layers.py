"""Which layers must compute in the next precision so that a result is accurate enough, found by measurement.

Quantisation noise of different layers is nearly independent, so the noise powers at the output add up: with layer `l`
in the lower precision alone, the noise power relative to the signal is `n_l = 10^(-SNR_l / 10)`, and with the layers of
a set it is about the sum of theirs. Raising the layers in descending order of `n_l` then reaches a required ratio with
the fewest layers.

A layer is ranked by the ratio with it *alone in the lower precision*, not with it alone raised. Both give the same
order where noise is independent, but the second is a small difference of two large numbers, in which the product of a
layer's noise with that of all others, which only vanishes on average, hides the layer; and where two layers overflow,
raising either alone changes nothing, while each of them alone shows it.

The additive model only ranks. Every set that is offered was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from exporter.artifacts.manifest_fields import raised_entry
from exporter.types import ComputePrecision
from models.errors import count
from models.progress import Progress, no_progress

Measure = Callable[[frozenset[str]], float]
"""From the layers that are raised to the lowest signal-to-noise ratio on the held-out clips, in decibels."""


@dataclass(frozen=True)
class RaisedLayer:
    """A layer that computes in the next precision.

    Attributes:
        layer: its name.
        gain_db: how many decibels raising it gained, measured with the layers before it raised already; infinite where
            the result was not finite before.
    """

    layer: str
    gain_db: float


@dataclass(frozen=True)
class Raised:
    """A set of layers to raise, measured.

    Attributes:
        rows: the layers, in the order in which they were raised: the one that costs most accuracy first.
        snr_db: the lowest signal-to-noise ratio on the held-out clips with them raised.
    """

    rows: tuple[RaisedLayer, ...]
    snr_db: float

    @property
    def layers(self) -> frozenset[str]:
        """The names of the raised layers."""
        return frozenset(row.layer for row in self.rows)

    def describe(self, kind: str, precision: str) -> str:
        """Return `int8`, or `int8 with 2 layers in float32`."""
        return f"{kind} with {count(len(self.rows), 'layer')} in {precision}" if self.rows else kind

    def entries(self, precision: ComputePrecision) -> list[str]:
        """Return the manifest's option `raised_layers`.

        Args:
            precision: what the raised layers compute in.
        """
        return [raised_entry(row.layer, precision, row.gain_db) for row in self.rows]


NONE_RAISED = Raised((), math.nan)
"""Where nothing was measured, no layer is raised."""


def raise_layers(
    layers: Sequence[str],
    measure: Measure,
    required: float,
    progress: Progress = no_progress,
    finished: Progress = no_progress,
) -> Iterator[Raised]:
    """Yield sets of layers to raise, the smallest that is accurate enough first.

    If no layer needs to be raised, that is one measurement. Otherwise every layer is measured once for its rank, then
    each set of the first `k` layers of that order until one holds. After that, each next element has one layer more,
    for a caller whose own check rejects the former ones. The last element has all layers raised, and is yielded whether
    it is accurate enough or not: the caller's check then states what it measured. No set is measured twice.

    Args:
        layers: what can be raised, each once, in the order of the forward pass.
        measure: see `Measure`; NaN counts as minus infinity.
        required: the lowest signal-to-noise ratio that is accurate enough, in decibels.
        progress: called before every measurement.
        finished: called with a line for the first measurement, for all of single layers, and for each layer raised.
    """
    known: dict[frozenset[str], float] = {}

    def snr(raised: frozenset[str], what: str) -> float:
        if raised not in known:
            progress(f"measuring accuracy with {what}")
            found = float(measure(raised))
            known[raised] = -math.inf if math.isnan(found) else found
        return known[raised]

    everything = frozenset(layers)
    state = Raised((), snr(frozenset(), "no layer raised"))
    finished(f"no layer raised: {state.snr_db:.1f} dB; {required:g} dB are required")
    if state.snr_db >= required or not layers:
        yield state
    if not layers:
        return
    alone = {layer: snr(everything - {layer}, f"{layer} alone in lower precision") for layer in layers}
    finished(f"measured what each of {count(len(layers), 'layer')} costs alone")
    for layer in sorted(layers, key=alone.__getitem__):  # stable: equal layers in the order of the forward pass
        raised = state.layers | {layer}
        reached = snr(raised, f"{count(len(raised), 'layer')} raised, {layer} last")
        row = RaisedLayer(layer, _gain(state.snr_db, reached))
        state = replace(state, rows=(*state.rows, row), snr_db=reached)
        finished(f"{count(len(raised), 'layer')} raised, {layer} last: {reached:.1f} dB")
        if reached >= required or raised == everything:
            yield state


def _gain(before: float, after: float) -> float:
    return 0.0 if before == after else after - before  # both infinite: nothing gained
