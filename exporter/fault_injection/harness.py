"""Runs a faulty copy and asks the check of `verify parity`."""

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
class RunOutcome:
    """The judge's word on one copy: whether it passed, on which batch, and the most of the budget that was used."""

    passed: bool
    batch: InputBatch
    budget_used: float


@dataclass
class Harness:
    """A original artifact on the bench, with the float64 reference beside it.

    Attributes:
        graph: the artifact, read apart.
        trial: the artifact as `verify parity` opens it.
        ports: its inputs and outputs.
        float64 reference: whose pool the faults must show on.
        runtime: the engine, for people.
    """

    graph: OriginalGraph
    spec: RunSpec
    io_mapping: IOMapping
    golden: GoldenOutputs
    runtime: str
    _values_by_precision: dict[Precision, tuple[InputBatch, Values]] = field(default_factory=dict[Any, Any])
    _shown: dict[tuple[InputBatch, int], dict[str, str]] = field(default_factory=dict[Any, Any])
    _layers: dict[int, tuple[Values, Values]] = field(default_factory=dict[Any, Any])

    @property
    def _rule(self) -> Tolerance:
        return select_tolerance("float32", ParityOptions(), self.golden.source.float32_name)

    def batches(self, names: Sequence[str]) -> tuple[InputBatch, ...]:
        """Lay out some rows: all in one batch, or, where its size is fixed, as many batches as they fill."""
        pool, size = self.golden.inputs, self.graph.batch
        rows = [row for row, name in enumerate(pool.names) if name in names]
        return tuple(
            InputBatch(" + ".join(dict.fromkeys(pool.names[row] for row in batch.rows)), batch.rows)
            for batch in ([InputBatch("", tuple(rows))] if size is None else _filled(pool, rows, size))
        )

    def run(self, copy: FaultyGraph, batches: Sequence[InputBatch], precision: Precision = "float32") -> RunOutcome:
        """Run a copy on batches, up to the first that fails.

        Args:
            copy: with its fault.
            batches: at least one.
            precision: `exact` runs the faulty graph in float64.

        Raises:
            ArtifactError: the engine refuses the copy.
            CheckFailedError: the copy fails on a batch.
        """
        worst: RunOutcome | None = None
        for batch in batches:
            outputs = self._answer(copy, batch, precision)
            named = {
                self.io_mapping.outputs[name]: value
                for name, value in outputs.items()
                if name in self.io_mapping.outputs
            }
            asked = RunResult(
                self.spec, self.runtime, Placement("cpu", 0), "float32", self.io_mapping, ((batch, named),), {}
            )
            report = evaluate(asked, self.golden, ParityOptions())
            found = RunOutcome(report.passed, batch, max(row.budget_used for row in report.comparisons))
            if worst is None or found.budget_used > worst.budget_used or not found.passed:
                worst = found
            if not found.passed:
                break
        assert worst is not None, "no batches"
        return worst

    def localize(self, copy: FaultyGraph, value: str, batch: InputBatch) -> tuple[Located, str | None]:
        """Trace a faulty copy through the float64 reference's layers, as `verify parity --localize` does.

        Layers whose value the fault cannot have changed are left out: they are the original graph's, which passed.

        Args:
            copy: with its fault.
            value: the original graph's value that goes wrong first.
            batch: on which it was detected.
        """
        named: str | None = None
        for place, row in enumerate(batch.rows):
            shown = self._visible_layers(batch, place)
            values = self._values(batch, "float32")
            like = extract_suffix(copy, values)
            intact = {name for known, name in shown.items() if like.intact(self._original_name(known))}
            doubtful = [name for name in self._golden_layers(row)[1] if name not in intact]
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
        """Measure some layers of the reference, in order, on one row of a batch; what comes after them is not run."""
        values, (float32, float64) = self._values(batch, "float32"), self._golden_layers(batch.rows[place])
        named = {layer: known for known, layer in self._visible_layers(batch, place).items()}
        until = self._original_name(named[layers[-1]]) if layers and layers[-1] in named else None
        tail = extract_suffix(copy, values, all_outputs=True, until=until)
        if self.graph.batch is None:  # the row alone; an array without a batch axis stays whole
            values = {
                name: value[place : place + 1] if value.ndim > 1 and len(value) == len(batch.rows) else value
                for name, value in values.items()
            }
        outputs = self._run(copy, tail, values, "float32")
        alone = outputs if self.graph.batch is None else self._row(outputs, place, batch)
        given = {self._layer_name(name): value for name, value in alone.items() if value.dtype.kind == "f"}
        own, wanted = {name: float32[name] for name in layers}, {name: float64[name] for name in layers}
        return compare_layers(given, own, wanted, self._rule)

    def _visible_layers(self, batch: InputBatch, place: int) -> dict[str, str]:
        """Return {value of the original graph: the float64 reference's layer that it is}."""
        row = batch.rows[place]
        if (batch, row) not in self._shown:
            float32, float64 = self._golden_layers(row)
            original = compare_layers(
                self._row(self._values(batch, "float32"), place, batch), float32, float64, self._rule
            )
            self._shown[batch, row] = {layer.value: layer.layer for layer in original if layer.value is not None}
        return self._shown[batch, row]

    def _answer(self, copy: FaultyGraph, batch: InputBatch, precision: Precision) -> dict[str, NDArray[Any]]:
        values = self._values(batch, precision)
        tail = extract_suffix(copy, values)
        outputs = self._run(copy, tail, values, precision) if tail.wrong else {}
        return outputs | {name: values[original] for name, original in tail.original.items()}

    def _run(
        self, copy: FaultyGraph, tail: GraphSuffix, values: Values, precision: Precision
    ) -> dict[str, NDArray[Any]]:
        path = copy.write(tail.model, self.graph.folder / "faulty.onnx")
        engine = find_engine("onnx")
        with (engine.open if precision == "float32" else engine.open_float64)(path, RuntimeOptions()) as runtime:
            return runtime.run({name: values[original] for name, original in tail.feeds.items()})

    def _values(self, batch: InputBatch, precision: Precision) -> Values:
        """Return every value of the original graph on one batch; the last one asked for is kept."""
        held = self._values_by_precision.get(precision)
        if held is None or held[0] != batch:
            self._values_by_precision.pop(precision, None)
            engine = find_engine("onnx")
            feeds = make_feeds(self.io_mapping, self.golden.inputs, batch.rows)
            opened = engine.open if precision == "float32" else engine.open_float64
            with opened(self.graph.all_outputs, RuntimeOptions()) as runtime:
                values = runtime.run(feeds)
            fed = {name: value if precision == "float32" else value.astype(np.float64) for name, value in feeds.items()}
            held = batch, {**fed, **values}
            self._values_by_precision[precision] = held
        return held[1]

    def _golden_layers(self, row: int) -> tuple[Values, Values]:
        """Return the float64 reference's layers on one row; two rows are kept, which is a batch."""
        if row not in self._layers:
            while len(self._layers) > 1:
                self._layers.pop(next(iter(self._layers)))
            self._layers[row] = self.golden.layers(row)
        return self._layers[row]

    def _row(self, values: Values, place: int, batch: InputBatch) -> dict[str, NDArray[Any]]:
        """Return one row of a batch's values under the names that a localiser gives them, inputs left out."""
        fed = {port.name for port in self.io_mapping.inputs.values()}
        return {
            self._layer_name(name): value[place : place + 1] if len(value) == len(batch.rows) else value
            for name, value in values.items()
            if name not in fed and value.ndim and value.dtype.kind == "f"
        }

    def _layer_name(self, value: str) -> str:
        output = self.io_mapping.outputs.get(value)
        return value if output is None else self.golden.source.layers.get(output, output)

    def _original_name(self, name: str) -> str:
        return next((value for value in self.io_mapping.outputs if self._layer_name(value) == name), name)


def _how(traced: Sequence[LayerError], named: str, wanted: str | None) -> Located:
    """Return whether the layer named is the one to blame, or the first that the graph shows after it."""
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
