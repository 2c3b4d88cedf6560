"""Where does an artifact leave the truth? Its values beside the network's, layer by layer.

`matching` finds the value that stands for a layer, in rewritten and foreign graphs too. What an engine fused away is
not seen; then the sentence names the steps in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import C3DExportError, join_limited
from exporter.parity.execution import IOMapping, RunSpec, make_feeds, select_batches
from exporter.parity.golden import GoldenOutputs
from exporter.parity.inputs import EDGE_CASES, InputBatch, InputSet
from exporter.parity.layer_matching import match_layers
from exporter.parity.tolerance import Tolerance, select_tolerance
from exporter.results import LayerError, Localization, ParityReport
from exporter.types import ParityOptions
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Layers = Mapping[str, NDArray[Any]]


def localize(
    trial: RunSpec,
    report: ParityReport,
    truth: GoldenOutputs,
    progress: Progress = no_progress,
    options: ParityOptions | None = None,
) -> Localization:
    """Trace one input through every layer of the truth and of the artifact.

    The input is the one that failed worst on its own, else the worst batch, else a real clip, else the first.

    Args:
        trial: the artifact and its engine, which is opened anew with every value exposed.
        report: its verdict, which decides the input.
        truth: whose layers are the measure.
        progress: told at each step.
        options: what the budget is, if not the measured one.
    """
    with trial.open(trial.settings) as runtime:
        ports, arithmetic = trial.match(runtime.signature), runtime.precision
        batch = _worst(
            select_batches(runtime.signature, arithmetic, truth.pool, trial.unsupported_inputs), report, truth.pool
        )
    progress(f"every layer of {trial.path.name}")
    try:
        values = exposed_values(trial, ports, truth, batch.rows)
    except C3DExportError as error:
        return Localization(batch.name, (), None, f"not traced: {error}")
    rule = select_tolerance(arithmetic, options or ParityOptions(), truth.source.reference)
    found = Localization(batch.name, (), None, "")
    for place, row in enumerate(dict.fromkeys(batch.rows)):
        layers = compare_layers(_cut(values, place, len(batch.rows)), *truth.layers(row), rule)
        first, sentence = first_divergence(layers, passed=report.passed)
        found = Localization(batch.name, layers, first, sentence)
        if first is not None:
            break
    if len(batch.rows) > 1 and has_batch_interaction(report):
        mixed = "each input passes alone, so items of a batch influence each other"
        return replace(found, summary=f"{mixed}; {found.summary}")
    return found


def exposed_values(
    trial: RunSpec, ports: IOMapping, truth: GoldenOutputs, rows: tuple[int, ...]
) -> dict[str, NDArray[Any]]:
    """Return every floating-point value of a model for some rows, in the order computed.

    The model's outputs carry the names of the truth's layers.
    """
    with trial.open(replace(trial.settings, all_outputs=True, optimised=False)) as runtime:
        answers = runtime.run(make_feeds(ports, truth.pool, rows))
    called = {name: truth.source.layers.get(output, output) for name, output in ports.outputs.items()}
    floats = {name: values for name, values in answers.items() if "float" in str(values.dtype)}
    return {called.get(name, name): values for name, values in floats.items()}


def compare_layers(values: Layers, single: Layers, exact: Layers, rule: Tolerance) -> tuple[LayerError, ...]:
    """Pair an artifact's values with the truth's layers, and measure each.

    Args:
        values: the artifact's, in the order computed.
        single: {layer: float32 values} of the reference.
        exact: {layer: float64 values} of the truth, in the order computed.
        rule: what a layer's budget is.
    """
    found = match_layers(values, single, exact, rule)
    reported: list[LayerError] = []
    for layer, wanted in exact.items():
        holds = np.isfinite(single[layer]) & np.isfinite(wanted)
        scale = float(np.abs(wanted[holds]).max(initial=0)) or 1.0
        own = float(np.abs(single[layer][holds] - wanted[holds]).max(initial=0)) / scale
        if layer not in found:
            reported.append(LayerError(layer, None, None, None, own, None))
            continue
        value = found[layer]
        reported.append(LayerError(layer, value.name, value.how, value.error / scale, own, value.budget_used))
    return tuple(reported)


def first_divergence(layers: tuple[LayerError, ...], *, passed: bool) -> tuple[str | None, str]:
    """Return the first layer outside its budget, if any, and the same as a sentence.

    An artifact that passed has not left the truth, whatever a layer in between does.
    """
    seen = [layer for layer in layers if layer.budget_used is not None]
    if not seen:
        return None, "none of the truth's layers was found in the graph"
    count = f"{len(seen)} of {len(layers)} seen"
    if passed:
        most = max(seen, key=lambda layer: layer.budget_used or 0)
        return (
            None,
            f"no layer leaves the truth ({count}); the most of its budget is used by {most.layer}, {most.budget_used:.0%}",
        )
    last, between = "the input", list[str]()
    for layer in layers:
        if layer.budget_used is None or layer.error is None:
            between.append(layer.layer)
        elif layer.budget_used <= 1:
            last, between = layer.layer, []
        else:
            unseen = (
                f"; the graph does not show {join_limited(tuple(between), 6)}, so the fault may be there"
                if between
                else ""
            )
            return layer.layer, (
                f"leaves the truth at {layer.layer}: error {layer.error:.1e} of the largest value, where the reference "
                f"has {layer.reference_error:.1e}; agrees up to {last}{unseen}"
            )
    return None, f"no layer leaves the truth on this input ({count})"


def has_batch_interaction(report: ParityReport) -> bool:
    """Tell whether every input passes alone and some batch of several does not."""
    alone = [row.passed for row in report.comparisons if row.batch == 1]
    return bool(alone) and all(alone) and not all(row.passed for row in report.comparisons)


def _worst(batches: Sequence[InputBatch], report: ParityReport, pool: InputSet) -> InputBatch:
    """Return the batch to trace: of those that failed, alone before mixed and calm before edge cases, the worst."""
    outputs = len({row.output for row in report.comparisons}) or 1
    failed = [
        (len(batch.rows) > 1, bool({pool.names[row] for row in batch.rows} & {*EDGE_CASES}), -row.budget_used, number)
        for number, row in enumerate(report.comparisons)
        if not row.passed and (batch := batches[number // outputs])
    ]
    if failed:
        return batches[min(failed)[-1] // outputs]
    calm = [batch for batch in batches if not {pool.names[row] for row in batch.rows} & {*EDGE_CASES}]
    return next((batch for batch in calm if batch.name == "video"), [*calm, *batches][0])


def _cut(values: Layers, place: int, size: int) -> dict[str, NDArray[Any]]:
    """Return one item of a batch, where a value has one for each."""
    if size == 1:
        return dict(values)
    return {
        name: array[place : place + 1] if array.ndim and len(array) == size else array for name, array in values.items()
    }
