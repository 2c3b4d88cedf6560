"""Where does an artifact leave the truth? Its values beside the network's, layer by layer.

Values are matched by name where the exporter named them, by value where it did not, so that rewritten and foreign
graphs can be read too. What an engine fused away is not seen; then the sentence names the steps in between.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from exporter.errors import C3DExportError, listing
from exporter.parity.inputs import EDGES, InputPool
from exporter.parity.tolerance import FACTOR, FLOOR
from exporter.parity.trials import Trial, feeds_of
from exporter.parity.truth import Truth
from exporter.verdicts import LayerError, Localization, ParityReport
from models.errors import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Layers = Mapping[str, NDArray[Any]]

LIKE = 0.5
"""The least cosine similarity at which an unnamed value is taken for a layer that has left the truth."""
CHANNELS_LAST = (0, 4, 1, 2, 3)
"""From (N, T, H, W, C) to (N, C, T, H, W)."""

Match = Literal["name", "value", "likeness"]


@dataclass(frozen=True)
class _Found:
    name: str
    how: Match
    values: "NDArray[np.float64]"


def localize(trial: Trial, report: ParityReport, truth: Truth, progress: Progress = quiet) -> Localization:
    """Trace one input through every layer of the truth and of the artifact.

    The input is the one that failed worst on its own, else a real clip, else the first.

    Args:
        trial: the artifact and its engine, which is opened anew with every value exposed.
        report: its verdict, which decides the input.
        truth: whose layers are the measure.
        progress: told at each step.
    """
    row = _row(report, truth.pool)
    single, exact = truth.layers(row)
    progress(f"every layer of {trial.path.name}")
    try:
        values = exposed_values(trial, truth, row)
    except C3DExportError as error:
        return Localization(truth.pool.names[row], (), None, f"not traced: {error}")
    layers = trace(values, single, exact)
    first, sentence = departure(layers)
    alone = all(r.passed for r in report.comparisons if r.batch == 1)
    if first is None and not report.passed and alone and any(not r.passed for r in report.comparisons):
        sentence = "each input passes alone, so items of a batch influence each other"
    return Localization(truth.pool.names[row], layers, first, sentence)


def exposed_values(trial: Trial, truth: Truth, row: int) -> "dict[str, NDArray[Any]]":
    """Return every value of a model for one row, (1, …) each where it has a batch axis, in the order computed.

    The model's outputs carry the names of the truth's layers.
    """
    with trial.open(trial.settings) as plain:
        ports, batch = trial.match(plain.signature), plain.signature.batch or 1
    with trial.open(replace(trial.settings, expose=True, optimised=False)) as runtime:
        answers = runtime.run(feeds_of(ports, truth.pool, (row,) * batch))
    cut = {
        name: values[:1] if batch > 1 and values.ndim and len(values) == batch else values
        for name, values in answers.items()
    }
    called = {name: truth.source.layers.get(output, output) for name, output in ports.outputs.items()}
    return {called.get(name, name): values for name, values in cut.items() if values.dtype.kind == "f"}


def trace(values: "Layers", single: "Layers", exact: "Layers") -> tuple[LayerError, ...]:
    """Pair an artifact's values with the truth's layers, and measure each.

    Args:
        values: the artifact's, in the order computed.
        single: {layer: float32 values} of the reference.
        exact: {layer: float64 values} of the truth, in the order computed.
    """
    found = _by_name(values, exact)
    taken = {match.name for match in found.values()}
    for layer, wanted in exact.items():
        if layer in found:
            continue
        budget = _budget(single[layer], wanted)
        for name, given in values.items():
            view = _view(given, wanted)
            if name not in taken and view is not None and _error(view, wanted) <= budget:
                found[layer] = _Found(name, "value", view)
                taken.add(name)
                break
    for layer, wanted in exact.items():
        if layer not in found and (match := _most_alike(values, wanted, taken)):
            found[layer] = match
            taken.add(match.name)
    told: list[LayerError] = []
    for layer, wanted in exact.items():
        scale = float(np.abs(wanted).max(initial=0)) or 1.0
        own = _error(single[layer], wanted)
        match = found.get(layer)
        if match is None:
            told.append(LayerError(layer, None, None, None, own / scale, None))
            continue
        error, budget = _error(match.values, wanted), _budget(single[layer], wanted)
        share = error / budget if budget > 0 else (0.0 if error == 0 else np.inf)
        told.append(LayerError(layer, match.name, match.how, error / scale, own / scale, float(share)))
    return tuple(told)


def departure(layers: tuple[LayerError, ...]) -> tuple[str | None, str]:
    """Return the first layer outside its budget, if any, and the same as a sentence."""
    last, between = "the input", list[str]()
    for layer in layers:
        if layer.share is None:
            between.append(layer.layer)
            continue
        if layer.share > 1:
            assert layer.error is not None
            unseen = (
                f"; the graph does not show {listing(tuple(between), 6)}, so the fault may be there" if between else ""
            )
            return layer.layer, (
                f"leaves the truth at {layer.layer}: error {layer.error:.1e} of the largest value, where the reference "
                f"has {layer.reference_error:.1e}; agrees up to {last}{unseen}"
            )
        last, between = layer.layer, []
    seen = sum(layer.share is not None for layer in layers)
    if not seen:
        return None, "none of the truth's layers was found in the graph"
    return None, f"no layer leaves the truth ({seen} of {len(layers)} seen)"


def _row(report: ParityReport, pool: InputPool) -> int:
    failed = sorted((row for row in report.comparisons if not row.passed), key=lambda row: -row.share)
    wanted = [row.input for row in failed if row.batch == 1 and row.input not in EDGES]
    names = [*wanted, *(name for row in failed for name in row.input.split(" + ")), "video", *pool.names]
    return next(
        pool.names.index(name) for name in names if (name in pool.names and name not in EDGES) or name == names[-1]
    )


def _by_name(values: "Layers", exact: "Layers") -> dict[str, _Found]:
    plain = {_plain(layer): layer for layer in exact}
    found: dict[str, _Found] = {}
    for name, given in values.items():
        layer = plain.get(_plain(name))
        if layer is not None and layer not in found and (view := _view(given, exact[layer])) is not None:
            found[layer] = _Found(name, "name", view)
    return found


def _plain(name: str) -> str:
    """Return a value's name without what exporters add: `/conv1/Conv_output_0` and `conv1.out` are `conv1`."""
    name = re.sub(r"(\.out|_output_\d+|:\d+)$", "", name.strip("/"))
    return re.sub(r"/(Conv|Gemm|MaxPool|Flatten)$", "", name)


def _view(given: "NDArray[Any]", wanted: "NDArray[Any]") -> "NDArray[np.float64] | None":
    """Return values in the truth's shape: as they are, flattened, or with channels last turned; None if none fits."""
    if given.size != wanted.size:
        return None
    if given.ndim == wanted.ndim == len(CHANNELS_LAST) and given.shape != wanted.shape:
        given = given.transpose(CHANNELS_LAST)
        return given.astype(np.float64) if given.shape == wanted.shape else None
    return given.astype(np.float64).reshape(wanted.shape)


def _most_alike(values: "Layers", wanted: "NDArray[Any]", taken: set[str]) -> _Found | None:
    best, most = None, LIKE
    norm = float(np.linalg.norm(wanted))
    for name, given in values.items():
        view = None if name in taken else _view(given, wanted)
        if view is None or not np.isfinite(view).all():
            continue
        both = norm * float(np.linalg.norm(view))
        cosine = float(view.ravel() @ wanted.ravel()) / both if both > 0 else 0.0
        if cosine > most:
            best, most = _Found(name, "likeness", view), cosine
    return best


def _budget(single: "NDArray[Any]", exact: "NDArray[Any]") -> float:
    return FACTOR * max(_error(single, exact), FLOOR * float(np.abs(exact).max(initial=0)))


def _error(values: "NDArray[Any]", exact: "NDArray[Any]") -> float:
    error = float(np.abs(values - exact).max(initial=0))
    return error if np.isfinite(error) else float("inf")
