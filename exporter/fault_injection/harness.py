"""Runs faulty copies of an artifact and compares each with the network, as `verify parity --fail-fast` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact
from exporter.engines import find_engine, open_reference
from exporter.errors import CheckFailedError
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.fault_injection.low_precision import LowPrecision, write_low
from exporter.fault_injection.results import Located
from exporter.fault_injection.split import split_model
from exporter.parity.evaluate import evaluate, stop_at_failure
from exporter.parity.execution import RunResult, RunSpec, run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputBatch, InputSet
from exporter.parity.localize import localize
from exporter.parity.structure import check_structure
from exporter.results import LayerError, ParityReport, ReferencePrecision
from exporter.types import ParityOptions
from models.progress import Progress, no_progress

OPTIONS = ParityOptions()


@dataclass
class Harness:
    """An artifact that faults are injected into.

    Attributes:
        graph: its graph, without the weights.
        spec: how `verify parity` runs it.
        golden: the outputs of its network; every row is computed.
        original: its outputs without a fault, which passed.
        batches: what each faulty copy is run on.
        low: what the artifact computes in, where that is less than its graph, in float32, shows.
    """

    graph: OriginalGraph
    spec: RunSpec
    golden: GoldenOutputs
    original: RunResult
    batches: tuple[InputBatch, ...]
    low: LowPrecision | None = None

    @cached_property
    def report(self) -> ParityReport:
        """The report on the artifact without a fault."""
        return self._evaluate(self.original)

    def run(self, faulty: FaultyGraph) -> tuple[RunResult, ParityReport]:
        """Run a faulty copy on the batches, up to the first that fails.

        Raises:
            ArtifactError: the engine refuses the copy.
            CheckFailedError: the copy cannot be run on a batch.
        """
        return self._run(faulty, "float32", self.batches)

    def run_float64(self, faulty: FaultyGraph) -> ParityReport:
        """Run a faulty copy in float64 on every input, in the largest batches.

        Raises:
            ArtifactError, CheckFailedError: see `run`.
        """
        rows = [{*batch.rows} for batch in self.batches]
        largest = [batch for batch in self.batches if not any({*batch.rows} < other for other in rows)]
        return self._run(faulty, "float64", largest)[1]

    def locate(self, value: str, result: RunResult, report: ParityReport) -> tuple[Located, str | None]:
        """Localize a fault as `verify parity --localize` does.

        Args:
            value: the first value of the original graph that the fault changes.
            result: the outputs of the faulty copy.
            report: its report.

        Returns:
            whether the layer of `value` was named, and the layer that was named.
        """
        found = localize(result, report, self.golden)
        values = self.graph.values
        affected = values[values.index(value) :]
        expected = next((self._layers[name] for name in affected if name in self._layers), None)
        return _rate(found.layers, found.first, expected), found.first

    def _run(
        self, faulty: FaultyGraph, precision: ReferencePrecision, batches: Sequence[InputBatch]
    ) -> tuple[RunResult, ParityReport]:
        path = faulty.write()
        if self.low is not None and precision == "float32":
            path = write_low(path, self.low, path.with_name("low.onnx"))
        in_float64 = partial(open_reference, "onnx", path, "float64")
        opener = in_float64 if precision == "float64" else partial(find_engine("onnx").open, path)
        spec = replace(self.spec, path=path, open=opener)
        stop = stop_at_failure(self.golden, OPTIONS, spec) if precision == "float32" else None
        result = run_model(spec, self.golden.inputs, stop_when=stop, batches=batches)
        if precision == "float64":  # compared with the tolerance of the artifact
            held = self.original.precision if self.low is None else "float32"
            result = replace(result, precision=held, rounding=self.original.rounding)
            return result, evaluate(result, self.golden, OPTIONS)
        return result, self._evaluate(result)

    def _evaluate(self, result: RunResult) -> ParityReport:
        """Compare as `verify parity` does: a file in fewer bits also without its rounding."""
        report = evaluate(result, self.golden, OPTIONS)
        if self.low is None or not report.passed:
            return report
        structure = check_structure("onnx", result, self.golden, OPTIONS, no_progress)
        return replace(report, structure=structure, passed=structure is None or structure.passed is not False)

    @cached_property
    def _layers(self) -> dict[str, str]:
        """{value of the original graph: the network's layer that computes it}."""
        layers = localize(self.original, self.report, self.golden).layers
        found = {layer.value: layer.layer for layer in layers if layer.value is not None}
        for value, output in self.original.mapping.outputs.items():  # values of outputs are named like their layers
            found[value] = self.golden.source.layers.get(output, output)
        return found


def set_up(
    artifact: LoadedArtifact,
    golden: GoldenOutputs,
    spec: RunSpec,
    folder: Path,
    progress: Progress = no_progress,
    low: tuple[LowPrecision, Path] | None = None,
) -> Harness:
    """Run an artifact without a fault, and copy its graph and weights into `folder`.

    Args:
        artifact: an ONNX file in float32, or one that `write_low` made.
        golden: the outputs of its network, or its own in float64.
        spec: how `verify parity` runs it.
        folder: an empty folder, with room for the weights and once more for the largest of them.
        progress: called at each step.
        low: of an artifact that `write_low` made, what it computes in, and what it was made from.

    Raises:
        ArtifactError: the file cannot be read.
        CheckFailedError: the artifact does not pass.
    """
    original = run_model(spec, golden.inputs, progress)
    golden.compute(range(len(golden.inputs.names)))
    progress(f"splitting {artifact.path.name}")
    graph = split_model(artifact.path if low is None else low[1], folder)
    batches = select_batches(golden.inputs, graph.input_shape[0])
    harness = Harness(graph, spec, golden, original, batches, low and low[0])
    if not harness.report.passed:
        raise CheckFailedError(
            f"{artifact.path}: does not pass parity without a fault, so the self-test would prove nothing; run verify "
            "parity on it"
        )
    return harness


def select_batches(inputs: InputSet, size: int | None) -> tuple[InputBatch, ...]:
    """Return batches that contain every input.

    Where the size is dynamic they are: one input, which shows most faults; that input and the last one of its shape,
    whose items must not interact; the other inputs, those of one shape together.

    Args:
        inputs: the inputs.
        size: the artifact's fixed batch size; None where it is dynamic.
    """
    rows = tuple(range(len(inputs.names)))
    if size is not None:
        return inputs.batches(size)
    last = inputs.same_shape_rows(rows[0])[-1]
    others = inputs.by_shape(row for row in rows[1:] if row != last)
    groups = dict.fromkeys(group for group in (rows[:1], (rows[0], last), *others) if group)
    return tuple(InputBatch(" + ".join(inputs.names[row] for row in group), group) for group in groups)


def _rate(layers: Sequence[LayerError], named: str | None, expected: str | None) -> Located:
    """Return whether the layer named is the expected one, or the first visible layer after it."""
    if named is None or named == expected:
        return "elsewhere" if named is None else "layer"
    for layer in reversed(layers[: [layer.layer for layer in layers].index(named)]):
        if layer.budget_used is not None:
            break
        if layer.layer == expected:
            return "between"
    return "elsewhere"
