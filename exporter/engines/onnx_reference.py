"""ONNX files in onnx's own reference evaluator: the specification, executed. Slow; it optimises nothing.

`FloatGraph` evaluates a graph in float64, the float64 reference of a file that has no network to go with it, or in
float32, the baseline of a file that computes in lower precision. It uses the kernels of `reference` and onnxruntime
where onnx's evaluator is missing, wrong or slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exporter.engines.base import OnnxFileRuntime, RuntimeOptions, Tensors
from exporter.engines.reference.kernels.levels import Limits
from exporter.engines.reference.moved_values import Moves
from exporter.engines.reference.node import normalize_domain
from exporter.engines.reference.operators import Choice, NodeError
from exporter.errors import ArtifactError, C3DExportError, CheckFailedError, join_limited
from exporter.onnx_io.all_outputs import intermediate_names
from exporter.onnx_io.cast import cast_model, inline_functions
from exporter.onnx_io.load import cause_line, load_without_weights
from exporter.onnx_io.signature import get_signature
from exporter.onnx_io.weights import take_weights
from exporter.results import Placement, Precision, ReferencePrecision
from models.specs import Signature

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from exporter.engines.reference.graph import GraphEvaluator


class OnnxReference(OnnxFileRuntime):
    """An ONNX file in onnx's reference evaluator, in its own dtypes.

    Operators for which the evaluator is known to be wrong are computed by kernels of `reference`.
    """

    library = "the reference evaluator"
    choice = Choice(None, engines=False)
    _substitutes: Mapping[str, NDArray[Any]] = MappingProxyType({})
    _evaluator: GraphEvaluator | None = None
    _signature = Signature((), ())
    _layers: Sequence[str] = ()
    _nodes = 0

    @property
    def description(self) -> str:
        """Return `onnx reference evaluator 1.23.2`."""
        import onnx

        return f"onnx reference evaluator {onnx.__version__}"

    @property
    def signature(self) -> Signature:
        """Return the graph's inputs and outputs."""
        return self._signature

    @property
    def placement(self) -> Placement:
        """Return the graph's node count, all on the CPU."""
        return Placement("cpu", self._nodes)

    def load_model(self) -> None:
        """Load the model; raises as `Runtime.load` says."""
        from exporter.engines.reference.graph import GraphEvaluator
        from exporter.engines.reference.weights import Weights

        model = load_without_weights(self.path)
        self._signature, self._nodes = get_signature(model), len(model.graph.node)
        try:
            model = inline_functions(model)
            self._layers = intermediate_names(model.graph) if self.options.all_outputs else []
            model = self._prepare(model)
            opsets = {normalize_domain(opset.domain): opset.version for opset in model.opset_import}
            weights = Weights({**dict(take_weights(model, self.path)), **self._substitutes}, self.choice.cast)
            self._evaluator = GraphEvaluator(model.graph, weights, opsets, self.choice)
        except C3DExportError:
            raise
        except NodeError as error:
            raise self._rejection(str(error)) from error
        except Exception as error:  # an unknown operator, a graph that is invalid
            raise ArtifactError(f"{self.path}: the reference evaluator rejects it: {cause_line(error)}") from error

    def close(self) -> None:
        """Release the model."""
        self._evaluator = None

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        assert self._evaluator is not None, "enter the runtime first"
        feeds = {name: self.choice.cast(value) for name, value in feeds.items()}
        try:
            values = self._evaluator.run(feeds, keep=(*self._layers, *self.options.extra_outputs))
        except NodeError as error:
            raise self._failure(str(error)) from error
        outputs = {value.name for value in self._signature.outputs}
        found: dict[str, Any] = {n: value for n, value in values.items() if value is not None or n in outputs}
        return found

    def _prepare(self, model: onnx.ModelProto) -> onnx.ModelProto:
        return model

    def _rejection(self, reason: str) -> C3DExportError:
        return ArtifactError(f"{self.path}: the reference evaluator rejects it: {reason}")

    def _failure(self, reason: str) -> C3DExportError:
        return CheckFailedError(f"{self.path}: fails in the reference evaluator: {reason}")


class FloatGraph(OnnxReference):
    """The same graph with every number in one floating-point type."""

    def __init__(
        self,
        path: Path,
        options: RuntimeOptions,
        dtype: ReferencePrecision = "float64",
        *,
        levels: Limits | None = None,
        moves: Moves | None = None,
        substitutes: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    ) -> None:
        """Remember what to load.

        Args:
            path: the model file.
            options: `threads` and the device do not matter.
            dtype: what it is computed in.
            levels: leave out the rounding of few bits: quantised values are real numbers within these limits
                (`kernels.levels`).
            moves: move every value as its rounding to float32 may move it (`reference.moved_values`).
            substitutes: {initialiser: the numbers that it has instead}; of one in 8 bits, levels that are no integers.
        """
        super().__init__(path, options)
        self.choice, self._substitutes = Choice(dtype, levels=levels, moves=moves), substitutes

    @property
    def description(self) -> str:
        """Return `m.onnx in float64`."""
        return f"{self.path.name} in {self.choice.dtype} (evaluated node by node)"

    @property
    def precision(self) -> Precision:
        """Return the precision that it is run in."""
        assert self.choice.dtype is not None
        return self.choice.dtype

    @property
    def notes(self) -> tuple[str, ...]:
        """Name the nodes that float32 computes although the graph is in float64, and those that engines differ on."""
        if self._evaluator is None:
            return ()
        operators = [*self._evaluator.all_operators()]
        notes: list[str] = []
        if names := [operator.node.label for operator in operators if operator.in_float32]:
            listed = join_limited(tuple(names), 6)
            notes.append(
                f"the reference computes {len(names)} nodes in float32, for want of a float64 kernel: {listed}"
            )
        if names := [operator.node.label for operator in operators if operator.crops]:
            listed = join_limited(tuple(names), 6)
            notes.append(
                "under auto_pad SAME with strides longer than a window the reference follows onnxruntime, from which "
                f"other engines may differ: {listed}"
            )
        return tuple(notes)

    def _prepare(self, model: onnx.ModelProto) -> onnx.ModelProto:
        assert self.choice.dtype is not None
        return cast_model(model, self.choice.dtype)

    def _rejection(self, reason: str) -> C3DExportError:
        return self._failure(reason)

    def _failure(self, reason: str) -> C3DExportError:
        return ArtifactError(
            f"{self.path}: no {self.choice.dtype} reference to compare with, because a node cannot be computed: "
            f"{reason} (optimize --no-verify does not compare)"
        )
