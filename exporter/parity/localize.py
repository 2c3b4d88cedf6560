"""Where an artifact first diverges: its values beside the reference's, layer by layer.

`layer_matching` finds the value of each layer, in rewritten and foreign graphs too. Layers that an engine has fused are
not in the graph; then the summary names the layers in between.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Tensors
from exporter.errors import C3DExportError, OutOfMemoryError, join_limited
from exporter.parity.execution import RunResult, make_feeds
from exporter.parity.golden import GoldenOutputs
from exporter.parity.held_out import make_tolerances
from exporter.parity.input_set import InputBatch
from exporter.parity.layer_matching import match_layers
from exporter.parity.tolerance import Tolerance
from exporter.results import LayerError, Localization, ParityReport
from exporter.types import ParityOptions
from models.progress import Progress, no_progress


def localize(
    result: RunResult,
    report: ParityReport,
    golden: GoldenOutputs,
    progress: Progress = no_progress,
    options: ParityOptions | None = None,
) -> Localization:
    """Compare every layer of the artifact with the reference's on one input.

    The input is the one that failed worst on its own, else the worst batch, else a real clip, else the first.

    Args:
        result: how the artifact ran; it is opened again with every value as an output.
        report: the artifact's report, which decides the input.
        golden: the reference.
        progress: called at each step.
        options: the tolerance, if not the default.
    """
    batch = _select_batch(result, report, golden)
    progress(f"every layer of {result.spec.path.name}")
    try:
        values = _run_all_layers(result, golden, batch)
    except OutOfMemoryError:
        raise
    except C3DExportError as error:
        return Localization(batch.name, (), None, f"layers were not compared: {error}")
    tolerance = make_tolerances(result.spec, result.precision, golden, options or ParityOptions()).of(batch.rows)
    found = Localization(batch.name, (), None, "")
    for index, row in enumerate(dict.fromkeys(batch.rows)):
        layers = compare_layers(_select_item(values, index, len(batch.rows)), *golden.layers(row), tolerance)
        found = Localization(batch.name, layers, *first_divergence(layers, passed=report.passed))
        if found.first is not None:
            break
    if len(batch.rows) > 1 and has_batch_interaction(report):
        interaction = "each input passes on its own, so items of a batch influence each other"
        return replace(found, summary=f"{interaction}; {found.summary}")
    if found.first is None and any(row.equal is not None and not row.passed for row in report.comparisons):
        return replace(found, summary=f"{found.summary}; what differs is decided after these layers")
    return found


def _run_all_layers(result: RunResult, golden: GoldenOutputs, batch: InputBatch) -> dict[str, NDArray[Any]]:
    """Return every floating-point value of a model, in the order computed; outputs are named like their layers."""
    settings = replace(result.spec.settings, all_outputs=True, optimize_for_inference=False)
    with result.spec.open(settings) as runtime:
        outputs = runtime.run(make_feeds(result.mapping, golden.inputs, batch.rows))
    names = {name: golden.source.layers.get(output, output) for name, output in result.mapping.outputs.items()}
    floats = {name: values for name, values in outputs.items() if "float" in str(getattr(values, "dtype", ""))}
    return {names.get(name, name): values for name, values in floats.items()}


def compare_layers(values: Tensors, float32: Tensors, float64: Tensors, tolerance: Tolerance) -> tuple[LayerError, ...]:
    """Match an artifact's values to the reference's layers, and measure each.

    Args:
        values: the artifact's values, in the order computed.
        float32: {layer: value of the float32 baseline}.
        float64: {layer: value of the float64 reference}, in the order computed.
        tolerance: decides each layer's budget.
    """
    matches = match_layers(values, float32, float64, tolerance)
    errors: list[LayerError] = []
    for layer, wanted in float64.items():
        finite = np.isfinite(float32[layer]) & np.isfinite(wanted)
        scale = float(np.abs(wanted[finite]).max(initial=0)) or 1.0
        own = float(np.abs(float32[layer][finite] - wanted[finite]).max(initial=0)) / scale
        match = matches.get(layer)
        if match is None:
            errors.append(LayerError(layer, None, None, None, own, None))
        else:
            errors.append(LayerError(layer, match.name, match.method, match.error / scale, own, match.budget_used))
    return tuple(errors)


def first_divergence(layers: tuple[LayerError, ...], *, passed: bool) -> tuple[str | None, str]:
    """Return the first layer outside its budget, if any, and a sentence about it.

    An artifact that passed does not diverge, whatever an intermediate layer does.
    """
    seen = [layer for layer in layers if layer.budget_used is not None]
    if not seen:
        return None, "none of the reference's layers was found in the graph"
    count = f"{len(seen)} of {len(layers)} layers seen"
    if passed:
        most = max(seen, key=lambda layer: layer.budget_used or 0)
        used = most.budget_used or 0
        if used > 1:
            return None, (
                f"the outputs pass, so no layer is at fault ({count}); {most.layer} has {used:.3g} times the error "
                "that its own budget would allow, which does not reach the outputs"
            )
        return None, f"no layer diverges ({count}); {most.layer} uses most of its budget, {used:.0%}"
    last, unseen = "the input", list[str]()
    for layer in layers:
        if layer.budget_used is None or layer.error is None:
            unseen.append(layer.layer)
        elif layer.budget_used <= 1:
            last, unseen = layer.layer, []
        else:
            hidden = join_limited(tuple(unseen), 6)
            fused = f"; the graph does not contain {hidden}, so the fault may be there" if unseen else ""
            return layer.layer, (
                f"diverges at {layer.layer}: error {layer.error:.1e} of the largest value, where the float32 baseline "
                f"has {layer.float32_error:.1e}; agrees up to {last}{fused}"
            )
    return None, f"no layer diverges on this input ({count})"


def has_batch_interaction(report: ParityReport) -> bool:
    """Return whether every input passes on its own and some batch of several does not."""
    single = [row.passed for row in report.comparisons if row.batch == 1]
    return bool(single) and all(single) and not all(row.passed for row in report.comparisons)


def _select_batch(result: RunResult, report: ParityReport, golden: GoldenOutputs) -> InputBatch:
    """Return the batch whose layers are compared.

    Of those that failed, the smallest first, regular inputs before edge cases, then the one with the largest error.
    """
    batches = [batch for batch, _ in result.batches]
    outputs = len(result.batches[0][1])
    failed = [
        (len(batch.rows) > 1, not golden.inputs.regular(batch.rows), -row.budget_used, number)
        for number, row in enumerate(report.comparisons)
        if not row.passed and (batch := batches[number // outputs])
    ]
    if failed:
        return batches[min(failed)[-1] // outputs]
    regular = [batch for batch in batches if golden.inputs.regular(batch.rows)]
    return next((batch for batch in regular if batch.name == "video"), [*regular, *batches][0])


def _select_item(values: Tensors, index: int, size: int) -> dict[str, NDArray[Any]]:
    """Return one item of a batch, of the values that have one for each."""
    if size == 1:
        return dict(values)
    return {
        name: array[index : index + 1] if array.ndim and len(array) == size else array for name, array in values.items()
    }
