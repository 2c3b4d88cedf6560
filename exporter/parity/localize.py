"""Where does an artifact leave the truth? Its values beside the network's, layer by layer.

`matching` finds the value that stands for a layer, in rewritten and foreign graphs too. What an engine fused away is
not seen; then the sentence names the steps in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import C3DExportError, listing
from exporter.parity.inputs import EDGES, InputBatch, InputPool
from exporter.parity.matching import match
from exporter.parity.tolerance import Rule, rule_for
from exporter.parity.trials import Ports, Trial, batches_for, feeds_of
from exporter.parity.truth import Truth
from exporter.types import ParityOptions
from exporter.verdicts import LayerError, Localization, ParityReport
from models.errors import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Layers = Mapping[str, NDArray[Any]]


def localize(
    trial: Trial,
    report: ParityReport,
    truth: Truth,
    progress: Progress = quiet,
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
        ports, arithmetic = trial.match(runtime.signature), runtime.arithmetic
        batch = _worst(batches_for(runtime.signature, arithmetic, truth.pool, trial.skips), report, truth.pool)
    progress(f"every layer of {trial.path.name}")
    try:
        values = exposed_values(trial, ports, truth, batch.rows)
    except C3DExportError as error:
        return Localization(batch.name, (), None, f"not traced: {error}")
    rule = rule_for(arithmetic, options or ParityOptions(), truth.source.reference)
    found = Localization(batch.name, (), None, "")
    for place, row in enumerate(dict.fromkeys(batch.rows)):
        layers = trace(_cut(values, place, len(batch.rows)), *truth.layers(row), rule)
        first, sentence = departure(layers, passed=report.passed)
        found = Localization(batch.name, layers, first, sentence)
        if first is not None:
            break
    if len(batch.rows) > 1 and mixes(report):
        mixed = "each input passes alone, so items of a batch influence each other"
        return replace(found, sentence=f"{mixed}; {found.sentence}")
    return found


def exposed_values(trial: Trial, ports: Ports, truth: Truth, rows: tuple[int, ...]) -> "dict[str, NDArray[Any]]":
    """Return every floating-point value of a model for some rows, in the order computed.

    The model's outputs carry the names of the truth's layers.
    """
    with trial.open(replace(trial.settings, expose=True, optimised=False)) as runtime:
        answers = runtime.run(feeds_of(ports, truth.pool, rows))
    called = {name: truth.source.layers.get(output, output) for name, output in ports.outputs.items()}
    floats = {name: values for name, values in answers.items() if "float" in str(values.dtype)}
    return {called.get(name, name): values for name, values in floats.items()}


def trace(values: "Layers", single: "Layers", exact: "Layers", rule: Rule) -> tuple[LayerError, ...]:
    """Pair an artifact's values with the truth's layers, and measure each.

    Args:
        values: the artifact's, in the order computed.
        single: {layer: float32 values} of the reference.
        exact: {layer: float64 values} of the truth, in the order computed.
        rule: what a layer's budget is.
    """
    found = match(values, single, exact, rule)
    told: list[LayerError] = []
    for layer, wanted in exact.items():
        holds = np.isfinite(single[layer]) & np.isfinite(wanted)
        scale = float(np.abs(wanted[holds]).max(initial=0)) or 1.0
        own = float(np.abs(single[layer][holds] - wanted[holds]).max(initial=0)) / scale
        if layer not in found:
            told.append(LayerError(layer, None, None, None, own, None))
            continue
        value = found[layer]
        told.append(LayerError(layer, value.name, value.how, value.error / scale, own, value.share))
    return tuple(told)


def departure(layers: tuple[LayerError, ...], *, passed: bool) -> tuple[str | None, str]:
    """Return the first layer outside its budget, if any, and the same as a sentence.

    An artifact that passed has not left the truth, whatever a layer in between does.
    """
    seen = [layer for layer in layers if layer.share is not None]
    if not seen:
        return None, "none of the truth's layers was found in the graph"
    count = f"{len(seen)} of {len(layers)} seen"
    if passed:
        most = max(seen, key=lambda layer: layer.share or 0)
        return (
            None,
            f"no layer leaves the truth ({count}); the most of its budget is used by {most.layer}, {most.share:.0%}",
        )
    last, between = "the input", list[str]()
    for layer in layers:
        if layer.share is None or layer.error is None:
            between.append(layer.layer)
        elif layer.share <= 1:
            last, between = layer.layer, []
        else:
            unseen = (
                f"; the graph does not show {listing(tuple(between), 6)}, so the fault may be there" if between else ""
            )
            return layer.layer, (
                f"leaves the truth at {layer.layer}: error {layer.error:.1e} of the largest value, where the reference "
                f"has {layer.reference_error:.1e}; agrees up to {last}{unseen}"
            )
    return None, f"no layer leaves the truth on this input ({count})"


def mixes(report: ParityReport) -> bool:
    """Tell whether every input passes alone and some batch of several does not."""
    alone = [row.passed for row in report.comparisons if row.batch == 1]
    return bool(alone) and all(alone) and not all(row.passed for row in report.comparisons)


def _worst(batches: Sequence[InputBatch], report: ParityReport, pool: InputPool) -> InputBatch:
    """Return the batch to trace: of those that failed, alone before mixed and calm before edge cases, the worst."""
    outputs = len({row.output for row in report.comparisons}) or 1
    failed = [
        (len(batch.rows) > 1, bool({pool.names[row] for row in batch.rows} & {*EDGES}), -row.share, number)
        for number, row in enumerate(report.comparisons)
        if not row.passed and (batch := batches[number // outputs])
    ]
    if failed:
        return batches[min(failed)[-1] // outputs]
    calm = [batch for batch in batches if not {pool.names[row] for row in batch.rows} & {*EDGES}]
    return next((batch for batch in calm if batch.name == "video"), [*calm, *batches][0])


def _cut(values: "Layers", place: int, size: int) -> "dict[str, NDArray[Any]]":
    """Return one item of a batch, where a value has one for each."""
    if size == 1:
        return dict(values)
    return {
        name: array[place : place + 1] if array.ndim and len(array) == size else array for name, array in values.items()
    }
