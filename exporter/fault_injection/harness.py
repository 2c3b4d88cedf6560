"""Runs a faulty copy and asks the judge of `verify parity`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from exporter.engines import RuntimeOptions, find_engine
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.fault_injection.results import Located
from exporter.fault_injection.suffix import GraphSuffix, extract_suffix
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import IOMapping, RunResult, RunSpec, make_feeds
from exporter.parity.golden import GoldenOutputs
from exporter.parity.inputs import InputBatch, InputSet
from exporter.parity.localize import compare_layers, first_divergence
from exporter.parity.tolerance import Tolerance, select_tolerance
from exporter.results import LayerError, Placement
from exporter.types import ParityOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = Mapping[str, NDArray[Any]]

Precision = Literal["float32", "float64"]
FEW = 3
"""Layers from the fault on that are traced first; nearly always one of them departs."""


@dataclass(frozen=True)
class Verdict:
    """The judge's word on one copy: whether it passed, on which batch, and the most of the budget that was used."""

    passed: bool
    batch: InputBatch
    budget_used: float


@dataclass
class Harness:
    """A sound artifact on the bench, with the truth beside it.

    Attributes:
        graph: the artifact, read apart.
        trial: the artifact as `verify parity` opens it.
        ports: its inputs and outputs.
        truth: whose pool the faults must show on.
        runtime: the engine, for people.
    """

    graph: OriginalGraph
    trial: RunSpec
    ports: IOMapping
    truth: GoldenOutputs
    runtime: str
    _held: dict[Precision, tuple[InputBatch, Values]] = field(default_factory=dict[Any, Any])
    _shown: dict[tuple[InputBatch, int], dict[str, str]] = field(default_factory=dict[Any, Any])
    _layers: dict[int, tuple[Values, Values]] = field(default_factory=dict[Any, Any])

    @property
    def _rule(self) -> Tolerance:
        return select_tolerance("float32", ParityOptions(), self.truth.source.float32_name)

    def batches(self, names: Sequence[str]) -> tuple[InputBatch, ...]:
        """Lay out some rows: all in one batch, or, where its size is fixed, as many batches as they fill."""
        pool, size = self.truth.inputs, self.graph.batch
        rows = [row for row, name in enumerate(pool.names) if name in names]
        return tuple(
            InputBatch(" + ".join(dict.fromkeys(pool.names[row] for row in batch.rows)), batch.rows)
            for batch in ([InputBatch("", tuple(rows))] if size is None else _filled(pool, rows, size))
        )

    def verdict(self, copy: FaultyGraph, batches: Sequence[InputBatch], precision: Precision = "float32") -> Verdict:
        """Run a copy on batches, up to the first that fails.

        Args:
            copy: with its fault.
            batches: at least one.
            precision: `exact` runs the faulty graph in float64.

        Raises:
            ArtifactError: the engine refuses the copy.
            CheckFailedError: the copy fails on a batch.
        """
        worst: Verdict | None = None
        for batch in batches:
            answers = self._answer(copy, batch, precision)
            named = {self.ports.outputs[name]: value for name, value in answers.items() if name in self.ports.outputs}
            asked = RunResult(
                self.trial, self.runtime, Placement("cpu", 0), "float32", self.ports, ((batch, named),), {}
            )
            report = evaluate(asked, self.truth, ParityOptions())
            found = Verdict(report.passed, batch, max(row.budget_used for row in report.comparisons))
            if worst is None or found.budget_used > worst.budget_used or not found.passed:
                worst = found
            if not found.passed:
                break
        assert worst is not None, "no batches"
        return worst

    def locate(self, copy: FaultyGraph, value: str, batch: InputBatch) -> tuple[Located, str | None]:
        """Trace a faulty copy through the truth's layers, as `verify parity --localize` does.

        Layers whose value the fault cannot have changed are left out: they are the sound graph's, which passed.

        Args:
            copy: with its fault.
            value: the sound graph's value that goes wrong first.
            batch: on which it was caught.
        """
        named: str | None = None
        for place, row in enumerate(batch.rows):
            shown = self._shown_layers(batch, place)
            values = self._values(batch, "float32")
            like = extract_suffix(copy, values)
            intact = {name for known, name in shown.items() if like.intact(self._sound_name(known))}
            doubtful = [name for name in self._truth_layers(row)[1] if name not in intact]
            wanted = shown.get(self._layer_name(value)) or (doubtful or [None])[0]
            for few in (doubtful[:FEW], doubtful):
                traced = self._traced(copy, batch, place, few)
                named, _ = first_divergence(traced, passed=False)
                if named is not None:
                    return _how(traced, named, wanted), named
        return "elsewhere", named

    def _traced(
        self, copy: FaultyGraph, batch: InputBatch, place: int, layers: Sequence[str]
    ) -> tuple[LayerError, ...]:
        """Measure some of the truth's layers, in order, on one row of a batch; what comes after them is not run."""
        values, (single, exact) = self._values(batch, "float32"), self._truth_layers(batch.rows[place])
        named = {layer: known for known, layer in self._shown_layers(batch, place).items()}
        until = self._sound_name(named[layers[-1]]) if layers and layers[-1] in named else None
        tail = extract_suffix(copy, values, all_outputs=True, until=until)
        if self.graph.batch is None:  # the row alone; an array without a batch axis stays whole
            values = {
                name: value[place : place + 1] if value.ndim > 1 and len(value) == len(batch.rows) else value
                for name, value in values.items()
            }
        answers = self._run(copy, tail, values, "float32")
        alone = answers if self.graph.batch is None else self._row(answers, place, batch)
        given = {self._layer_name(name): value for name, value in alone.items() if value.dtype.kind == "f"}
        own, wanted = {name: single[name] for name in layers}, {name: exact[name] for name in layers}
        return compare_layers(given, own, wanted, self._rule)

    def _shown_layers(self, batch: InputBatch, place: int) -> dict[str, str]:
        """Return {value of the sound graph: the truth's layer that it is}."""
        row = batch.rows[place]
        if (batch, row) not in self._shown:
            single, exact = self._truth_layers(row)
            sound = compare_layers(self._row(self._values(batch, "float32"), place, batch), single, exact, self._rule)
            self._shown[batch, row] = {layer.value: layer.layer for layer in sound if layer.value is not None}
        return self._shown[batch, row]

    def _answer(self, copy: FaultyGraph, batch: InputBatch, precision: Precision) -> dict[str, NDArray[Any]]:
        values = self._values(batch, precision)
        tail = extract_suffix(copy, values)
        answers = self._run(copy, tail, values, precision) if tail.wrong else {}
        return answers | {name: values[sound] for name, sound in tail.sound.items()}

    def _run(
        self, copy: FaultyGraph, tail: GraphSuffix, values: Values, precision: Precision
    ) -> dict[str, NDArray[Any]]:
        path = copy.write(tail.model, self.graph.folder / "faulty.onnx")
        engine = find_engine("onnx")
        with (engine.open if precision == "float32" else engine.open_float64)(path, RuntimeOptions()) as runtime:
            return runtime.run({name: values[sound] for name, sound in tail.feeds.items()})

    def _values(self, batch: InputBatch, precision: Precision) -> Values:
        """Return every value of the sound graph on one batch; the last one asked for is kept."""
        held = self._held.get(precision)
        if held is None or held[0] != batch:
            self._held.pop(precision, None)
            engine = find_engine("onnx")
            feeds = make_feeds(self.ports, self.truth.inputs, batch.rows)
            opened = engine.open if precision == "float32" else engine.open_float64
            with opened(self.graph.exposed, RuntimeOptions()) as runtime:
                values = runtime.run(feeds)
            fed = {name: value if precision == "float32" else value.astype(np.float64) for name, value in feeds.items()}
            held = batch, {**fed, **values}
            self._held[precision] = held
        return held[1]

    def _truth_layers(self, row: int) -> tuple[Values, Values]:
        """Return the truth's layers on one row; two rows are kept, which is a batch."""
        if row not in self._layers:
            while len(self._layers) > 1:
                self._layers.pop(next(iter(self._layers)))
            self._layers[row] = self.truth.layers(row)
        return self._layers[row]

    def _row(self, values: Values, place: int, batch: InputBatch) -> dict[str, NDArray[Any]]:
        """Return one row of a batch's values under the names that a localiser gives them, inputs left out."""
        fed = {port.name for port in self.ports.inputs.values()}
        return {
            self._layer_name(name): value[place : place + 1] if len(value) == len(batch.rows) else value
            for name, value in values.items()
            if name not in fed and value.ndim and value.dtype.kind == "f"
        }

    def _layer_name(self, value: str) -> str:
        output = self.ports.outputs.get(value)
        return value if output is None else self.truth.source.layers.get(output, output)

    def _sound_name(self, name: str) -> str:
        return next((value for value in self.ports.outputs if self._layer_name(value) == name), name)


def _how(traced: Sequence[LayerError], named: str, wanted: str | None) -> Located:
    """Tell whether the layer named is the one to blame, or the first that the graph shows behind it."""
    if named == wanted:
        return "layer"
    for layer in reversed(traced[: [layer.layer for layer in traced].index(named)]):
        if layer.budget_used is not None:
            break
        if layer.layer == wanted:
            return "between"
    return "elsewhere"


def _filled(pool: InputSet, rows: Sequence[int], size: int) -> tuple[InputBatch, ...]:
    few = InputSet(pool.select(rows), tuple(pool.names[row] for row in rows))
    return tuple(InputBatch(batch.name, tuple(rows[place] for place in batch.rows)) for batch in few.batches(size))
