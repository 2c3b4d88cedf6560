"""What must hold of every model: each target keeps its function, it equals itself, and a fault is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from exporter import OptimizeRequest, ParityOptions, ParityReport, optimize, verify_parity
from exporter.errors import C3DExportError, CheckFailedError
from exporter.parity.input_types import INPUT_TYPES
from exporter.passes.decisions import RAISE_OPSET, UNDONE
from exporter.types import InputOptions, OptimizeOptions, Target
from helpers.random_graphs.graph import Array, run
from helpers.random_graphs.models import RandomModel
from helpers.random_graphs.mutations import mutate

TARGETS: tuple[Target, ...] = ("portable", "cpu", "cuda")
TOLERANCE, HALF_TOLERANCE = 1e-3, 2e-2
"""Of the largest number of an output; where a part is in float16, a rounding may go the other way."""
CLEAR_FAULT, CLEAR_HALF_FAULT, CLEAR_INT8_FAULT = 2e-3, 5e-2, 1.0
"""The smallest difference, relative to the largest number of an output, that a check must see. A file with parts in
int8 is compared by its signal-to-noise ratio, of which 15 dB pass."""
MIN_SCALE, MIN_COARSE_SCALE = 1e-2, 0.1
"""Smaller outputs are taken for this large: they are what is left of larger numbers, perhaps in float16."""
BATCHES = 2, 5, 0
NO_EVIDENCE = "no input gives a meaningful budget", "only constant inputs give a meaningful comparison"
"""Notes of reports that fail because float32 itself is too inaccurate to show anything."""
WITHOUT_NAN = tuple(name for name in INPUT_TYPES if name != "nan")
"""The target `cpu` computes convolutions as matrix products, which spread a NaN."""


@dataclass(frozen=True)
class Finding:
    """Something that must not be.

    Attributes:
        seed: of the model.
        kind: what went wrong, without numbers.
        detail: the numbers, or the message.
    """

    seed: int
    kind: str
    detail: str


def check_model(made: RandomModel, folder: Path) -> tuple[list[Finding], dict[str, int]]:
    """Return what is wrong with a model's treatment, and counts: `rewritten`, `faults`, `seen`."""
    path = folder / "model.onnx"
    path.write_bytes(made.model.SerializeToString())
    counts = {"rewritten": 0, "faults": 0}
    found = [*_check_targets(made, path, counts), *_check_itself(made, path), *_check_fault(made, path, counts)]
    return [Finding(made.seed, kind, detail[:400]) for kind, detail in found], counts


def _check_targets(made: RandomModel, path: Path, counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    batches = BATCHES if made.is_dynamic else BATCHES[:1]
    expected = {batch: try_run(made.model, made.feeds(batch)) for batch in batches}
    for target in TARGETS:
        output = path.with_name(f"{target}.onnx")
        output.unlink(missing_ok=True)
        request = OptimizeRequest(path, output, OptimizeOptions(target=target), verify=False, measure=False)
        try:
            result = optimize(request)
        except Exception as error:  # noqa: BLE001 - every one is a finding
            yield f"optimize --target {target}: {type(error).__name__}", str(error)
            continue
        yield from (
            (f"{target}: a pass was undone", f"{row.node}: {row.reason}")
            for row in result.decisions
            if row.action == UNDONE and row.node != RAISE_OPSET and not _is_inferred_wrongly(made, row.reason)
        )
        if not result.modified:
            continue
        counts["rewritten"] += 1
        optimized = onnx.load(output)
        for batch in batches:
            difference = compare(expected[batch], try_run(optimized, made.feeds(batch)), _tolerance(made.model))
            if difference:
                yield f"{target}: batch {batch}: {difference[0]}", f"{result.passes}: {difference[1]}"
        if target == "cpu":
            options = _options(made, path, WITHOUT_NAN)
            yield from _verify(output, options, "the optimised file fails against the original")


def _is_inferred_wrongly(made: RandomModel, reason: str) -> bool:
    """Return whether a pass was undone because onnxruntime infers the size of a pool in `ceil_mode` wrongly."""
    ceil = any(attribute.name == "ceil_mode" for node in made.model.graph.node for attribute in node.attribute)
    return ceil and "ShapeInferenceError" in reason


def _options(made: RandomModel, reference: Path, types: tuple[str, ...] | None = None) -> ParityOptions:
    shapes = {name: (shape[0] or BATCHES[0], *shape[1:]) for name, shape in made.shapes.items()}
    inputs = InputOptions(shapes=shapes) if made.free_sizes else InputOptions()
    return ParityOptions(against=reference, input_types=types, inputs=inputs)


def _check_itself(made: RandomModel, path: Path) -> Iterator[tuple[str, str]]:
    yield from _verify(path, _options(made, path), "it fails against itself")


def _verify(path: Path, options: ParityOptions, kind: str) -> Iterator[tuple[str, str]]:
    try:
        (report,) = verify_parity([path], options)
    except CheckFailedError as error:
        yield kind, describe_failures(error.reports[-1]) if error.reports else str(error)
        return
    except Exception as error:  # noqa: BLE001 - every one is a finding
        yield f"{kind}: {type(error).__name__}", str(error)
        return
    if not report.passed and not any(reason in note for reason in NO_EVIDENCE for note in report.notes):
        yield kind, describe_failures(report)


def _check_fault(made: RandomModel, path: Path, counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Plant a fault; where the outputs differ clearly, the check must fail.

    Both are run with onnxruntime's graph optimisations, as the check runs them: these repair some faults.
    """
    planted = mutate(made.model, made.seed)
    if planted is None:
        return
    faulty, fault = planted
    before, after = (try_run(model, made.feeds(2), optimized=True) for model in (made.model, faulty))
    limit = CLEAR_HALF_FAULT if _rounds_coarsely(made.model) else CLEAR_FAULT
    limit = CLEAR_INT8_FAULT if _is_quantized(made.model) else limit
    if isinstance(after, str) or compare(before, after, limit) is None:
        return
    counts["faults"] += 1
    other = path.with_name("faulty.onnx")
    other.write_bytes(faulty.SerializeToString())
    try:
        (report,) = verify_parity([other], _options(made, path))
    except C3DExportError:
        return  # shapes or names differ, and it says so
    except Exception as error:  # noqa: BLE001 - every one is a finding
        yield f"a fault: {type(error).__name__}", f"{fault}: {error}"
        return
    if report.passed:
        yield "a fault passes", f"{fault}: {compare(before, after, limit)}"


def try_run(model: onnx.ModelProto, feeds: dict[str, Array], *, optimized: bool = False) -> list[Array] | str:
    """Return the outputs in onnxruntime, or why it refuses."""
    try:
        return run(model, feeds, optimized=optimized)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
        return str(error)


def compare(before: list[Array] | str, after: list[Array] | str, tolerance: float) -> tuple[str, str] | None:
    """Return how outputs differ, as (kind, detail); None where they do not, or there was nothing to compare."""
    if isinstance(before, str):
        return None
    if isinstance(after, str):
        return "onnxruntime refuses it", after
    scale = MIN_SCALE if tolerance < HALF_TOLERANCE else MIN_COARSE_SCALE
    for number, (a, b) in enumerate(zip(before, after, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return "another shape or dtype", f"output {number}: {a.shape} {a.dtype}, {b.shape} {b.dtype}"
        if not a.size:
            continue
        wide, other = a.astype(np.float64), b.astype(np.float64)
        differs = (wide != other) & ~(np.isnan(wide) & np.isnan(other))  # the largest number of an empty set is -inf
        largest = float(np.abs(wide[np.isfinite(wide)]).max(initial=scale))
        error = float(np.abs(wide[differs] - other[differs]).max(initial=0)) / largest
        if not error <= tolerance:
            return "other values", f"output {number}: {error:.2g} of the largest"
    return None


def _rounds_coarsely(model: onnx.ModelProto) -> bool:
    """Return whether some of it is in float16 or rounded to 8 bits, where a rounding may go the other way."""
    casts = (node for node in model.graph.node if node.op_type == "Cast")
    halves = onnx.TensorProto.FLOAT16
    inputs = any(value.type.tensor_type.elem_type == halves for value in model.graph.input)
    return (
        inputs
        or _is_quantized(model)
        or any(attribute.i == halves for node in casts for attribute in node.attribute)
        or any(held.data_type == halves for held in model.graph.initializer)
    )


def _is_quantized(model: onnx.ModelProto) -> bool:
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)


def _tolerance(model: onnx.ModelProto) -> float:
    return HALF_TOLERANCE if _rounds_coarsely(model) else TOLERANCE


def describe_failures(report: ParityReport) -> str:
    """Return the comparisons that failed, and the notes."""
    failed = [row for row in report.comparisons if not row.passed]
    rows = [f"{row.output} on {row.input}: {row.budget_used:.3g} of the budget" for row in failed[:3]]
    return "; ".join([*rows, *report.notes])
