"""The first step of parity: run a model in an engine on every input batch."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from exporter.engines.base import Runtime, RuntimeOptions
from exporter.errors import ArtifactError, CheckFailedError
from exporter.parity.claims import (
    FULL_PRECISION,
    LOW_PRECISIONS,
    describe_comparison,
    describe_contradiction,
    finer_precision,
)
from exporter.parity.feeds import as_rows, cast, rename_outputs
from exporter.parity.input_set import Arrays, InputBatch, InputSet
from exporter.parity.input_types import EDGE_CASES
from exporter.parity.io_mapping import IOMapping
from exporter.parity.moved_weights import RoundingErrors, StoredWeights, measure_rounding
from exporter.parity.row_tolerances import AccuracyBound
from exporter.results import Placement, Precision
from exporter.timing import timed
from exporter.types import MIN_SNR
from models.progress import Progress, no_progress
from models.specs import Signature

StopCondition = Callable[[Precision, InputBatch, Arrays], bool]
"""From what a model is compared as, a batch and its outputs to whether the run ends there."""

Excuse = Callable[[InputBatch], bool]
"""From a batch that a model fails on to whether it is left out, because the reference's own file fails on it too."""


@dataclass(frozen=True)
class RunSpec:
    """A model, and how to run it.

    Attributes:
        path: the model file, or the name that messages use for it.
        open: returns a runtime for the settings.
        settings: device, signature, threads.
        map_io: maps the loaded model's signature to the reference's; raises ArtifactError where they do not fit.
        unsupported_inputs: input types on which the engine is known to differ, so that it is not run on them.
        precision: what the manifest states that the model computes in; None where it states nothing, so that what the
            engine finds in the file decides. It is never compared at a lower precision than that.
        bound: the accuracy that it is held to below float32.
        claims: what the manifest states that it computes in, for a note where the file contradicts it; None for none.
        stored: the weights that it only stores in fewer bits; None for none, or where that does not matter.
    """

    path: Path
    open: Callable[[RuntimeOptions], Runtime]
    settings: RuntimeOptions
    map_io: Callable[[Signature], IOMapping]
    unsupported_inputs: tuple[str, ...] = ()
    precision: Precision | None = None
    bound: AccuracyBound | None = None
    claims: Precision | None = None
    stored: StoredWeights | None = None

    def held_to(self, precision: Precision) -> RunSpec:
        """Return the spec with the accuracy that is required of a precision, where that is not the one stated."""
        if self.bound is None or self.precision in (None, precision):
            return self
        if precision not in LOW_PRECISIONS:
            return self
        least = max(MIN_SNR[LOW_PRECISIONS[precision]], self.bound.min_snr_db)
        return replace(self, bound=replace(self.bound, min_snr_db=least))


@dataclass(frozen=True)
class RunResult:
    """The outputs of a model.

    Attributes:
        spec: what was run.
        engine: the engine with its version.
        placement: where the nodes ran.
        precision: what it is compared as: what its manifest states, unless all its weights have a higher precision;
            without a manifest, the lowest precision of its weights.
        mapping: how its inputs and outputs correspond to the reference's.
        batches: each batch with {output name in the reference: values (N, …)}; of a whole input (1, *shape).
        seconds: by phase: `load`, `run`.
        notes: what a report must say about how the engine ran it.
        left_out: {batch on which it failed and was excused: why it failed}.
        rounding: of an artifact that only stores its weights in fewer bits, the errors that rounding them makes.
        stopped: whether `stop_when` ended the run before its last batch.
    """

    spec: RunSpec
    engine: str
    placement: Placement
    precision: Precision
    mapping: IOMapping
    batches: tuple[tuple[InputBatch, Arrays], ...]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    rounding: RoundingErrors = field(default_factory=dict[tuple[int, str], float])
    stopped: bool = False


def make_feeds(mapping: IOMapping, inputs: InputSet, rows: Sequence[int]) -> Arrays:
    """Return some rows under the model's own names and in its dtypes; values out of a dtype's range become infinite."""
    return {
        mapping.inputs[name].name: cast(values, mapping.inputs[name].dtype)
        for name, values in inputs.select(rows).items()
    }


def select_batches(
    signature: Signature, precision: Precision, inputs: InputSet, skip: Sequence[str] = ()
) -> tuple[InputBatch, ...]:
    """Return the batches that a model is run on.

    A fixed batch size is kept. Edge cases are for full precision only, NaN for float32 only: the baseline of a model in
    float64 is evaluated in float32, not in its own engine, whose pools may ignore NaN or return it. Where an output has
    no dynamic first axis, its rows cannot be separated, so every row runs in a batch of its own; so does every row that
    is a whole input.
    """
    unsuited = () if precision == "float32" else ("nan",) if precision in FULL_PRECISION else EDGE_CASES
    batches = inputs.batches(signature.batch, (*skip, *unsuited))
    if signature.batch is None and not all(out.shape and isinstance(out.shape[0], str) for out in signature.outputs):
        return tuple(batch for batch in batches if len(batch.rows) == 1)
    return batches


def run_model(
    spec: RunSpec,
    inputs: InputSet,
    progress: Progress = no_progress,
    stop_when: StopCondition | None = None,
    batches: Sequence[InputBatch] | None = None,
    excuse: Excuse | None = None,
) -> RunResult:
    """Run a model on every batch.

    Args:
        spec: the model and its engine.
        inputs: the rows that the batches refer to.
        progress: called at every batch.
        stop_when: called with the outputs of every batch; the run ends where it returns True.
        batches: the batches to run; None selects those that suit the model.
        excuse: called with a batch that the model fails on; where it returns True, the batch is left out.

    Raises:
        UnavailableError: the device or the engine is not there.
        ArtifactError: the engine refuses the file, its signature does not fit, or it draws random numbers.
        CheckFailedError: the model fails on an input without an excuse, or on every input.
    """
    seconds = {"load": 0.0, "run": 0.0}
    progress(f"loading {spec.path.name}")
    with contextlib.ExitStack() as stack:
        with timed(seconds, "load"):
            runtime = stack.enter_context(spec.open(spec.settings))
        require_repeatable(runtime)
        mapping = spec.map_io(runtime.signature)
        found = runtime.precision
        precision = finer_precision(spec.precision, found)
        contradiction = describe_contradiction(spec.claims, found)
        notes = (*describe_comparison(contradiction, precision, found), *runtime.notes)
        spec = spec.held_to(precision)
        if batches is None:
            held_low = spec.bound is not None and precision in FULL_PRECISION
            skip = (*spec.unsupported_inputs, *(EDGE_CASES if held_low else ()))
            batches = select_batches(runtime.signature, precision, inputs, skip)
        run = _BatchRun(runtime, spec, mapping, inputs, excuse, progress, seconds)
        results, last = run.run(batches, stop_when and partial(stop_when, precision))
        rounding: RoundingErrors = {}
        if last is None and spec.stored is not None and spec.stored.precision == precision:
            with timed(seconds, "run"):
                rounding = measure_rounding(spec.path, spec.stored, spec.settings, results, run.run_one, progress)
        return RunResult(
            spec,
            runtime.description,
            runtime.placement,
            precision,
            mapping,
            tuple(results),
            seconds,
            notes,
            {name: str(error) for name, error in run.failures.items()},
            rounding,
            stopped=last not in (None, batches[-1]),
        )


@dataclass
class _BatchRun:
    """A loaded model on batches of inputs; see `run_model`.

    Attributes:
        failures: {batch that was left out: the error that it was excused for}.
    """

    runtime: Runtime
    spec: RunSpec
    mapping: IOMapping
    inputs: InputSet
    excuse: Excuse | None
    progress: Progress
    seconds: dict[str, float]
    failures: dict[str, CheckFailedError] = field(default_factory=dict[str, CheckFailedError])

    def run(
        self, batches: Sequence[InputBatch], stop_when: Callable[[InputBatch, Arrays], bool] | None
    ) -> tuple[list[tuple[InputBatch, Arrays]], InputBatch | None]:
        """Return the batches with their outputs, and the one after which `stop_when` ended the run, if it did.

        Those that the engine does not support are left out, and so are those that are excused.

        Raises:
            ArtifactError: an output is no tensor.
            CheckFailedError: the model fails on a batch without an excuse; or on every batch, with an excuse each.
        """
        results: list[tuple[InputBatch, Arrays]] = []
        inputs, waiting = self.inputs, deque(batches)
        while waiting:
            batch = waiting.popleft()
            if any(inputs.names[row] in self.spec.unsupported_inputs for row in batch.rows):
                continue
            self.progress(f"running {self.spec.path.name}: {batch.name}, batch {len(batch.rows)}")
            try:
                with timed(self.seconds, "run"):
                    outputs = self.run_one(self.runtime, batch)
            except CheckFailedError as error:
                if self.excuse is None or not self.excuse(batch):
                    raise
                if rows := _split(batch, self.runtime.signature.batch, inputs):
                    waiting.extendleft(reversed(rows))
                else:
                    self.failures[batch.name] = error
                continue
            results.append((batch, outputs))
            if stop_when is not None and stop_when(batch, outputs):
                return results, batch
        if self.failures and not results:
            raise next(iter(self.failures.values()))
        return results, None

    def run_one(self, runtime: Runtime, batch: InputBatch) -> Arrays:
        """Return a batch's outputs in a runtime of this model or of a copy; raises as `run` does."""
        feeds = make_feeds(self.mapping, self.inputs, batch.rows)
        try:
            outputs = runtime.run(feeds)
        except CheckFailedError as error:  # it also says what was chosen for the inputs, and the options for it
            raise CheckFailedError("; ".join((str(error), *self.inputs.notes))) from error
        return as_rows(rename_outputs(self.spec.path, self.mapping.outputs, outputs), batched=self.inputs.batched)


def _split(batch: InputBatch, fixed: int | None, inputs: InputSet) -> list[InputBatch]:
    """Return a batch of fixed size for each of several rows: one on which a model fails must not hide the others."""
    rows = [*dict.fromkeys(batch.rows)]
    return [InputBatch(inputs.names[row], inputs.fill(row, fixed)) for row in rows] if fixed and len(rows) > 1 else []


def require_repeatable(runtime: Runtime) -> None:
    """Refuse a model whose outputs depend on random numbers: no comparison of them means anything.

    Raises:
        ArtifactError: it names the node.
    """
    if node := runtime.random_node:
        raise ArtifactError(
            f"{runtime.path}: draws random numbers at {node}, so its outputs cannot be compared; export it in "
            "inference mode (model.eval()), or remove the node (optimize --no-verify does not compare)"
        )
