"""A reference that is known beforehand: outputs from arrays, without a model."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Runtime, RuntimeOptions
from exporter.parity.decisions import DecisionGraph
from exporter.parity.execution import RunResult, RunSpec
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputBatch, InputSet
from exporter.parity.io_mapping import IOMapping
from exporter.results import Placement, Precision, ReferencePrecision
from models.specs import Signature, TensorSpec

Array = NDArray[Any]


class KnownRuntime:
    """Returns row `i` of an array for the input value `i`."""

    description = "known"
    notes: tuple[str, ...] = ()
    precision: Precision = "float32"
    placement = Placement("cpu", 1)
    signature = Signature((TensorSpec("row", "float32", ("n", 1)),), (TensorSpec("logits", "float32", ("n", "width")),))

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = values

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the rows that `feeds` names."""
        rows = feeds["row"][:, 0].astype(int)
        return {name: values[rows] for name, values in self.values.items()}


class KnownSource:
    """A source with known outputs."""

    float64_name, float32_name = "known in float64", "known float32"
    layers: Mapping[str, str] = {}
    decisions: DecisionGraph | None = None

    def __init__(
        self, float64: Mapping[str, Array], float32: Mapping[str, Array], features: Sequence[str] = ()
    ) -> None:
        self.values: dict[str, Mapping[str, Array]] = {"float64": float64, "float32": float32}
        self.features = frozenset(features)

    def key(self) -> str:
        return "known"

    def open(
        self, precision: ReferencePrecision, *, all_outputs: bool = False, extra_outputs: tuple[str, ...] = ()
    ) -> AbstractContextManager[Runtime]:
        return cast("Runtime", KnownRuntime(self.values[precision]))


def known_golden(
    float64: Array, float32: Array | None = None, output: str = "logits", features: Sequence[str] = ()
) -> GoldenOutputs:
    """Return computed golden outputs of one output, (rows, width); rows are called a, b, c, …."""
    baseline = float64.astype(np.float32) if float32 is None else float32
    names = tuple(chr(ord("a") + row) for row in range(len(float64)))
    inputs = InputSet.of_rows({"row": np.arange(len(float64), dtype=np.float32)[:, None]}, names)
    golden = GoldenOutputs(KnownSource({output: float64}, {output: baseline}, features), inputs)
    golden.compute(range(len(float64)))
    return golden


def run_result(
    *batches: tuple[Sequence[int], Array],
    output: str = "logits",
    precision: Precision = "float32",
    placement: Placement = KnownRuntime.placement,
    unsupported_inputs: tuple[str, ...] = (),
) -> RunResult:
    """Return what a model returned: (rows, values) for each batch."""
    mapping = IOMapping({"row": KnownRuntime.signature.inputs[0]}, {output: output})
    spec = RunSpec(
        Path("m.onnx"),
        lambda _: cast("Runtime", KnownRuntime({})),
        RuntimeOptions(),
        lambda _: mapping,
        unsupported_inputs,
    )
    named = [
        (InputBatch("+".join(chr(ord("a") + row) for row in rows), tuple(rows)), {output: v}) for rows, v in batches
    ]
    return RunResult(spec, "an engine", placement, precision, mapping, tuple(named), {})
