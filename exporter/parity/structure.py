"""What an ONNX artifact in fewer bits than float32 computes apart from its rounding.

Its signal-to-noise ratio alone would accept a fault that is as small as rounding in so few bits. So its own graph is
also evaluated without that rounding (`FloatGraph`): casts between floating-point types change nothing, quantised
values are real numbers, and its weights are those of the reference that they are roundings of (`original_weights`).
What is left must equal the reference as closely as float32 does. Weights of which the reference holds no original may
be off by what their rounding explains (`moved_weights`); those that are the reference's changed by more than rounding
may not (`altered_weights`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Runtime, RuntimeOptions
from exporter.engines.onnx_reference import FloatGraph
from exporter.engines.reference.kernels.levels import Limits
from exporter.errors import C3DExportError
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.rounded_weights import RoundedWeight, read_rounded_weights
from exporter.onnx_io.rounding_decisions import find_rounding_decision
from exporter.onnx_io.signature import read_signature
from exporter.onnx_io.stored_weights import write_changed
from exporter.parity.activation_bounds import read_bounds
from exporter.parity.claims import FULL_PRECISION
from exporter.parity.compare import Expected, compare
from exporter.parity.conditioning import disturbed_baseline
from exporter.parity.discrete import is_discrete
from exporter.parity.execution import RunResult
from exporter.parity.feeds import as_rows, cast, cast_feeds, is_printed, rename_outputs
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import Arrays, InputBatch, InputSet
from exporter.parity.input_types import CONSTANT, EDGE_CASES
from exporter.parity.moved_weights import RoundingErrors, StoredWeights, measure_rounding
from exporter.parity.original_weights import WeightMatch, match_weight, read_originals
from exporter.parity.sources import FileSource
from exporter.parity.tolerance import SNR_TOLERANCES, Float32RelativeTolerance, StoredWeightsTolerance, Tolerance
from exporter.results import Comparison, ReferencePrecision, StructureCheck
from exporter.types import FormatName, ParityOptions
from models.errors import first_line
from models.progress import Progress

NO_LIMIT_DB = -200.0
"""A signal-to-noise ratio that everything has."""


def check_structure(
    format_name: FormatName, result: RunResult, golden: GoldenOutputs, options: ParityOptions, progress: Progress
) -> StructureCheck | None:
    """Compare an artifact's graph without rounding with the reference; None for one that computes in float32.

    Args:
        format_name: the artifact's format.
        result: how it ran.
        golden: the reference; its rows are computed.
        options: where the user states a tolerance, that alone counts; `min_snr` changes what follows from it.
        progress: called at each step.
    """
    if result.precision in FULL_PRECISION or not result.batches:
        return None
    if format_name != "onnx":
        return StructureCheck(None, f"{format_name} files are not evaluated without rounding")
    if options.rtol is not None or options.atol is not None:
        return StructureCheck(None, "a tolerance was asked for")
    rows = _choose_rows(result, golden)
    if not rows:
        return StructureCheck(None, "it returns no floating-point numbers, or ran on edge cases only")
    try:
        found = _Check(result, golden, rows, progress).run()
    except C3DExportError as error:
        return StructureCheck(None, first_line(error))
    return replace(found, counts=options.min_snr is None)


def _choose_rows(result: RunResult, golden: GoldenOutputs) -> tuple[int, ...]:
    """Return a row of a real clip, if there is one, and one of another kind, both with outputs to compare."""
    inputs = golden.inputs
    rows = dict.fromkeys(row for batch, _ in result.batches for row in batch.rows)
    usable = [
        row
        for row in rows
        if _is_regular(inputs, row) and any(_is_compared(golden, name, row) for name in result.mapping.outputs.values())
    ]
    real = [row for row in usable if row in (*inputs.held_out, *inputs.given, *inputs.frames)]
    others = [row for row in usable if row not in real]
    return (*real[:1], *others[:1])


def _is_regular(inputs: InputSet, row: int) -> bool:
    return inputs.names[row] not in (*EDGE_CASES, *CONSTANT)


def _is_compared(golden: GoldenOutputs, output: str, row: int) -> bool:
    exact = golden.float64(output, (row,))
    if is_printed(output, golden.source) or exact.shape != golden.float32(output, (row,)).shape:
        return False
    return exact.dtype.kind == "f" and exact.size > 0 and not is_discrete(golden.float32(output, (row,)))


@dataclass
class _Check:
    """One check; see `check_structure`.

    Attributes:
        rows: the rows that the graph is evaluated on.
    """

    result: RunResult
    golden: GoldenOutputs
    rows: tuple[int, ...]
    progress: Progress
    _best: dict[int, tuple[Limits, Arrays, float]] = field(default_factory=dict[int, tuple[Limits, Arrays, float]])

    @property
    def path(self) -> Path:
        return self.result.spec.path

    @cached_property
    def weights(self) -> Mapping[str, WeightMatch]:
        """{weight in fewer bits: what the reference holds of it}."""
        self.progress(f"matching the weights of {self.path.name} with the reference's")
        originals = read_originals(self.golden.source)
        nodes = load_without_weights(self.path).graph.node
        folded = all(node.op_type != "BatchNormalization" for node in nodes)

        def find(weight: RoundedWeight) -> WeightMatch:
            return match_weight(weight, originals, folded=folded) if weight.is_initializer else WeightMatch(None)

        return {weight.name: find(weight) for weight in read_rounded_weights(self.path)}

    @cached_property
    def substitutes(self) -> dict[str, NDArray[Any]]:
        return {name: found.numbers for name, found in self.weights.items() if found.numbers is not None}

    @property
    def altered(self) -> tuple[str, ...]:
        return tuple(name for name, found in self.weights.items() if found.altered)

    def run(self) -> StructureCheck:
        """Evaluate the graph with each kind of limits until it equals the reference, then with moved weights."""
        float32 = Float32RelativeTolerance(self.golden.source.float32_name)
        for limits in (Limits(read_bounds(self.golden.source)), Limits(), Limits(whole_range=True)):
            self._evaluate(limits, float32)
            if all(used <= 1 for _, _, used in self._best.values()):
                return self._report(passed=True)
        others = frozenset(self.weights) - self.substitutes.keys() - {*self.altered}
        rounding = {}
        if others:
            rounding = self._measure_rounding(others)
            limit = replace(SNR_TOLERANCES[self.result.precision], min_snr_db=NO_LIMIT_DB)
            tolerance = StoredWeightsTolerance(float32, limit)
            for row, (limits, outputs, _) in self._best.items():
                self._best[row] = limits, outputs, self._budget_used(row, outputs, tolerance, limits, rounding)
        if all(used <= 1 for _, _, used in self._best.values()):
            return self._report(passed=True)
        if node := find_rounding_decision(self.path):
            return StructureCheck(None, f"{node} decides on rounded numbers")
        return self._report(passed=False)

    def _evaluate(self, limits: Limits, tolerance: Tolerance) -> None:
        """Evaluate the graph on the rows that have not passed, and keep the better outputs."""
        with FloatGraph(self.path, RuntimeOptions(), levels=limits, substitutes=self.substitutes) as runtime:
            for row in self.rows:
                best = self._best.get(row)
                if best is not None and best[2] <= 1:
                    continue
                self.progress(f"{self.path.name} without rounding: {self.golden.inputs.names[row]}")
                outputs = self._run_row(runtime, row, self._find_partner(row))
                used = self._budget_used(row, outputs, tolerance, limits, {})
                if best is None or used < best[2]:
                    self._best[row] = limits, outputs, used

    def _find_partner(self, row: int) -> tuple[int, ...]:
        """Return the row that the last row runs beside, so that a mixture of items shows; () for the others."""
        inputs = self.golden.inputs
        if row != self.rows[-1] or not inputs.batched:
            return ()
        ran = {other for batch, _ in self.result.batches for other in batch.rows if _is_regular(inputs, other)}
        others = [other for other in inputs.same_shape_rows(row) if other != row and other in ran]
        return tuple(sorted(others, key=lambda other: other not in self.rows)[:1])

    def _run_row(self, runtime: Runtime, row: int, beside: tuple[int, ...] = ()) -> Arrays:
        """Return the outputs of one row that are compared, as the reference has them."""
        mapping, inputs = self.result.mapping, self.golden.inputs
        rows = (row, *beside) if runtime.signature.batch is None else inputs.fill(row, runtime.signature.batch)
        source, given = self.golden.source, inputs.select(rows)
        if isinstance(source, FileSource) and source.format == "onnx":
            given = cast_feeds(read_signature(source.path).inputs, given)  # a reference in float16 rounds its inputs
        feeds = {
            mapping.inputs[name].name: values
            if getattr(values, "dtype", None) == np.float32
            else cast(values, mapping.inputs[name].dtype)
            for name, values in given.items()
        }
        found = rename_outputs(self.path, mapping.outputs, runtime.run(feeds))
        outputs = as_rows(found, batched=inputs.batched)
        if len(rows) > 1:
            outputs = {name: values[:1] for name, values in outputs.items()}
        return {name: values for name, values in outputs.items() if _is_compared(self.golden, name, row)}

    def _budget_used(
        self, row: int, outputs: Arrays, tolerance: Tolerance, limits: Limits, rounding: RoundingErrors
    ) -> float:
        return max((row.budget_used for row in self._compare(row, outputs, tolerance, limits, rounding)), default=0.0)

    def _compare(
        self, row: int, outputs: Arrays, tolerance: Tolerance, limits: Limits, rounding: RoundingErrors
    ) -> Iterator[Comparison]:
        for name, values in outputs.items():
            float64, float32 = self._reference(limits, row)[name]
            if isinstance(tolerance, StoredWeightsTolerance) and (row, name) in rounding:
                tolerance = replace(tolerance, rounding=(rounding[row, name],))
            expected = Expected(float64, float32, ranked=False)
            found = compare(self.golden.inputs.names[row], name, values, expected, tolerance)
            if found.budget_used > 1:
                disturbed = disturbed_baseline(self.golden, name, (row,))
                if disturbed is not None:
                    found = compare(found.input, name, values, replace(expected, float32=disturbed), tolerance)
            yield found

    def _reference(self, limits: Limits, row: int) -> Mapping[str, tuple[NDArray[Any], NDArray[Any]]]:
        """Return {output: float64 reference, float32 baseline}; of a file in 8 bits, its graph without rounding."""
        golden, source, inputs = self.golden, self.golden.source, self.golden.inputs
        names = self.result.mapping.outputs.values()
        if not (isinstance(source, FileSource) and source.format == "onnx" and source.precision == "int8"):
            return {name: (golden.float64(name, (row,)), golden.float32(name, (row,))) for name in names}

        def run(dtype: ReferencePrecision) -> Arrays:
            with FloatGraph(source.path, RuntimeOptions(), dtype, levels=limits) as runtime:
                outputs = runtime.run(inputs.select(inputs.fill(row, runtime.signature.batch)))
            outputs = as_rows(outputs, batched=inputs.batched)
            return {name: values[:1] if inputs.batched else values for name, values in outputs.items()}

        def run_both() -> Mapping[str, tuple[NDArray[Any], NDArray[Any]]]:
            float64, float32 = run("float64"), run("float32")
            return {name: (float64[name], float32[name]) for name in float64}

        return golden.kept(("without rounding", limits, row), run_both)

    def _measure_rounding(self, names: frozenset[str]) -> RoundingErrors:
        """Return the errors that rounding the weights without an original makes, with no other rounding."""
        errors: dict[tuple[int, str], float] = {}
        found: set[Limits] = {limits for limits, _, _ in self._best.values()}
        for limits in found:
            stored = StoredWeights(
                self.result.precision, partial(write_changed, names=names), partial(self._open_copy, limits)
            )
            results = [
                (InputBatch(self.golden.inputs.names[row], (row,)), outputs)
                for row, (used, outputs, _) in self._best.items()
                if used == limits
            ]

            def run(runtime: Runtime, batch: InputBatch) -> Arrays:
                return self._run_row(runtime, batch.rows[0])

            errors |= measure_rounding(self.path, stored, RuntimeOptions(), results, run, self.progress)
        return errors

    def _open_copy(self, limits: Limits, path: Path, settings: RuntimeOptions) -> Runtime:
        return FloatGraph(path, settings, "float32", levels=limits, substitutes=self.substitutes)

    def _report(self, *, passed: bool) -> StructureCheck:
        used = {row: found[2] for row, found in self._best.items()}
        worst = max(used, key=used.__getitem__)
        names: Sequence[str] = self.golden.inputs.names
        return StructureCheck(
            passed,
            None,
            tuple(names[row] for row in self.rows),
            names[worst],
            used[worst],
            len(self.weights),
            len(self.substitutes),
            self.altered,
        )
