"""Finds out what a model file takes: its signature, sizes and values that it accepts, whether it has a batch axis.

A batch axis is confirmed by running the reference: rows run together must return what each returns by itself. Where it
is not confirmed, whole inputs are drawn and compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.artifacts.loading import LoadedArtifact, stated_signature
from exporter.engines import find_engine
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.errors import ArtifactError, CheckFailedError, UsageError
from exporter.parity.execution import require_repeatable
from exporter.parity.feeds import run_rows
from exporter.parity.input_plan import InputPlan, make_plans
from exporter.parity.input_roles import InputRoles, find_roles
from exporter.parity.input_set import BATCH_SIZES, InputBatch, InputSet
from exporter.parity.input_types import is_float
from exporter.parity.inputs import draw_inputs
from exporter.parity.io_mapping import map_by_name
from exporter.parity.sequences import is_nested
from exporter.parity.sources import FileSource
from exporter.types import UNKNOWN_RANK, InputOptions, ParityOptions
from models.progress import Progress, no_progress
from models.specs import Signature

PROBED = ("random", "saturated", "constant")
"""Input types that guessed sizes and values are tried with: the first, and those with the largest integers."""
VARIED = ("random", "uniform", "saturated")
"""Input types that differ from item to item, on which the batch axis is confirmed."""
BATCH_TOLERANCE = 1e-4
"""Largest difference between an item alone and in a batch, relative to the item's largest number. Float32 engines sum
in another order for another batch size (1e-6 to 1e-5 in deep networks); items that influence each other differ by far
more."""
MAX_CHANGED = 0.01
"""Largest part of an item's integers that may differ: rounding decides the highest of two equal scores."""


def read_model_signature(artifact: LoadedArtifact) -> Signature:
    """Return what a model file takes and returns: as its manifest or its graph states it, else as its engine finds it.

    Raises:
        ArtifactError: it cannot be read.
    """
    if (stated := stated_signature(artifact)) is not None:
        return stated
    with find_engine(artifact.format).open(artifact.path, RuntimeOptions(vouched=artifact.vouched)) as runtime:
        return runtime.signature


def read_full_signature(artifact: LoadedArtifact, others: Iterable[LoadedArtifact]) -> Signature:
    """Return the signature of a model file, with the shapes and dtypes that it does not state from others beside it.

    A TorchScript archive states neither; an ONNX file of the same function does.

    Raises:
        ArtifactError: a file cannot be read.
    """
    signature = read_model_signature(artifact)
    for other in others:
        if not any(UNKNOWN_RANK in value.shape for value in signature.inputs):
            break
        try:
            paired = map_by_name(other.path, read_model_signature(other), signature).inputs
        except ArtifactError:  # reported when it is run
            continue
        inputs = tuple(
            replace(paired[value.name], name=value.name) if UNKNOWN_RANK in value.shape else value
            for value in signature.inputs
        )
        signature = replace(signature, inputs=inputs)
    return signature


def find_inputs(
    source: FileSource,
    signature: Signature,
    options: ParityOptions,
    progress: Progress = no_progress,
    *,
    batched: bool = True,
) -> InputSet:
    """Return inputs for a model file, batched where its float32 baseline shows that the first axis is the batch.

    Args:
        source: the model file.
        signature: its inputs and outputs.
        options: the user's shapes, values and arrays; seed, samples and input types.
        progress: called at each step.
        batched: False where it is known that items influence each other.

    Raises:
        UsageError: options that do not fit, or no inputs on which the model runs.
        BadInputError: a file of the user cannot be read or does not fit.
        ArtifactError: the model cannot be loaded, or draws random numbers.
    """
    roles = find_roles(source.path, source.format)
    with source.open("float32") as runtime:
        require_repeatable(runtime)
        progress(f"trying inputs of {source.path.name}")

        def accept(tried: ParityOptions, *, batched: bool) -> tuple[InputSet | None, str]:
            return _first_accepted(make_plans(signature, tried.inputs, roles, batched=batched), runtime, tried)

        if batched and may_be_batched(signature, options.inputs, roles):
            varied = replace(_varied(signature, options), inputs=replace(options.inputs, arrays=()))
            probes, _ = accept(varied, batched=True)
            if probes is None and options.inputs.arrays:  # nothing that is drawn is accepted
                probes, _ = accept(options, batched=True)
            if probes is not None and _is_batched(runtime, probes):
                inputs, _ = accept(options, batched=True)
                if inputs is not None:
                    return inputs
        inputs, refusal = accept(options, batched=False)
    if inputs is None:
        raise UsageError(
            f"{refusal}; sizes and values tried by default were all refused: give them as --shape NAME=1x3x224x224, "
            "--feed NAME=FILE|VALUE|RANGE or --array FILE.npz (or optimize with --no-verify)"
        )
    return inputs


def may_be_batched(signature: Signature, options: InputOptions, roles: InputRoles) -> bool:
    """Return whether feeds of one item are worth a try: not where an input has the same value in every feed.

    Raises:
        UsageError, BadInputError: see `make_plans`.
    """
    if not _has_batch_candidate(signature):
        return False
    return not next(make_plans(signature, options, roles, batched=False)).fixed


def _has_batch_candidate(signature: Signature) -> bool:
    """Return whether the first axis of every input and output may be the batch: one dynamic size, or one number.

    Outputs of exported files name their sizes as they like, so any dynamic size is accepted there; whether the axis is
    a batch is confirmed by running the model.
    """
    shapes = [value.shape for value in signature.inputs]
    first = {shape[0] if shape else None for shape in shapes}
    if len(first) != 1 or None in first or not signature.outputs:
        return False
    (size,) = first
    if size == "0":
        return False
    if isinstance(size, str) and size != "?" and any(size in shape[1:] for shape in shapes):
        return False
    if any(is_nested(value.dtype) for value in (*signature.inputs, *signature.outputs)):
        return False
    sizes = [output.shape[0] if output.shape else None for output in signature.outputs]
    return all(isinstance(other, str) if isinstance(size, str) else other in (size, "?") for other in sizes)


def _varied(signature: Signature, options: ParityOptions) -> ParityOptions:
    """Return options for inputs that confirm a batch axis.

    Integers and booleans are random ones only: the others have so few values that items often agree by chance.
    """
    if any(is_float(value.dtype) for value in signature.inputs):
        return replace(options, input_types=VARIED)
    return replace(options, input_types=VARIED[:1], samples=max(BATCH_SIZES))


def _first_accepted(
    plans: Iterable[InputPlan], runtime: Runtime, options: ParityOptions
) -> tuple[InputSet | None, str]:
    """Return the inputs of the first plan that the model runs on; without one, the reason why it refused the first.

    A plan that nothing was guessed for is not tried: the run of the inputs itself will show what is wrong with them.
    """
    plans = iter(plans)
    first = next(plans)
    if not first.guessed or options.inputs.arrays:
        return draw_inputs(first, options), ""
    plan, refusal = accepted_plan((first, *plans), runtime, options.seed)
    return draw_inputs(plan, options) if plan else None, refusal


def accepted_plan(plans: Iterable[InputPlan], runtime: Runtime, seed: int = 0) -> tuple[InputPlan | None, str]:
    """Return the first plan that a model runs on; without one, the reason why it refused the first.

    Args:
        plans: the one to prefer first.
        runtime: the model, loaded.
        seed: of the inputs that it is tried on.
    """
    first = ""
    for plan in plans:
        refusals = islice(try_plan(plan, runtime, seed), None if plan.values else 1)
        if (refusal := next(filter(None, refusals), None)) is None:
            return plan, ""
        first = first or refusal
    return None, first


def try_plan(plan: InputPlan, runtime: Runtime, seed: int = 0) -> Iterator[str | None]:
    """Run a model on an input of each type of `PROBED`, and yield why it refuses it; None where it does not."""
    probes = draw_inputs(plan, ParityOptions(seed=seed, input_types=PROBED))
    for row in range(len(probes.names)):
        try:
            run_rows(runtime, probes, probes.fill(row, runtime.signature.batch))
            yield None
        except CheckFailedError as error:
            yield str(error)


def _is_batched(runtime: Runtime, inputs: InputSet) -> bool:
    """Return whether items of a batch are computed independently, as far as the inputs can show it.

    Args:
        runtime: the model.
        inputs: batched inputs. The largest batch of different rows is run, and each of its rows by itself; where there
            are integers, in the reverse order too, because an index may happen to be that of its own item.
    """
    size = runtime.signature.batch
    varied = [*inputs.mixed[-1]] if inputs.mixed else [0]
    rows = varied if size is None else [varied[min(i, len(varied) - 1)] for i in range(size)]  # no palindrome
    specs = runtime.signature.inputs
    orders = [rows] if all(is_float(spec.dtype) for spec in specs) or len(rows) == 1 else [rows, rows[::-1]]
    try:
        alone = {row: run_rows(runtime, inputs, inputs.fill(row, size)) for row in {*rows}}
        for order in orders:
            together = run_rows(runtime, inputs, order) if len(rows) > 1 else alone[rows[0]]
            if not _same_items(together, [alone[row] for row in order], size or 1):
                return False
    except CheckFailedError:
        return False
    return True


def items_interact(source: FileSource, inputs: InputSet, batches: Iterable[InputBatch]) -> bool:
    """Return whether an item of one of these batches changes with the others, in the float32 baseline.

    A condition on the whole batch (`If`) shows only on inputs that decide it otherwise than their batch does, which
    those of `find_inputs` need not be.
    """
    with source.open("float32") as runtime:
        size = runtime.signature.batch
        for batch in batches:
            try:
                together = run_rows(runtime, inputs, batch.rows)
                alone = [run_rows(runtime, inputs, inputs.fill(row, size)) for row in batch.rows]
            except CheckFailedError:
                continue
            if not _same_items(together, alone, size or 1):
                return True
    return False


def _same_items(together: Mapping[str, Any], alone: Sequence[Mapping[str, Any]], size: int) -> bool:
    """Return whether each item of a batch is what the first item of its own run is; these runs have `size` items."""
    return all(
        _has_items(values, len(alone))
        and all(
            _has_items(own[name], size) and _same_item(own[name][:1], values[item : item + 1])
            for item, own in enumerate(alone)
        )
        for name, values in together.items()
    )


def _has_items(values: object, count: int) -> bool:
    return isinstance(values, np.ndarray) and values.ndim > 0 and len(values) == count


def _same_item(alone: NDArray[Any], together: NDArray[Any]) -> bool:
    if alone.shape != together.shape:
        return False
    if alone.dtype.kind not in "fV":
        return alone.size == 0 or float(np.mean(alone != together)) <= MAX_CHANGED
    a, b = alone.astype(np.float64), together.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return False
    scale = float(np.abs(a[finite]).max(initial=0))
    return float(np.abs(a[finite] - b[finite]).max(initial=0)) <= BATCH_TOLERANCE * scale
