"""ONNX files in onnx's own reference evaluator: the specification, executed. Slow; it optimises nothing.

`Float64Graph` runs the same evaluator in float64: the float64 reference of a graph that has no network to go with it.
`Float32Graph` is the baseline of a file that computes in lower precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from exporter.engines.base import Runtime, Tensors, first_line
from exporter.errors import ArtifactError, CheckFailedError
from exporter.onnx_io.all_outputs import intermediate_names
from exporter.onnx_io.cast import cast_model
from exporter.onnx_io.load import load_with_weights
from exporter.onnx_io.precision import detect_precision
from exporter.onnx_io.random_nodes import find_random_node
from exporter.onnx_io.signature import get_signature
from exporter.results import Placement, Precision
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun


class OnnxReference(Runtime):
    """An ONNX file in the reference evaluator, in its own dtypes. The max pool is torch's (see `reference_ops`)."""

    _evaluator: ReferenceEvaluator | None = None
    _signature = Signature((), ())
    _computed: Sequence[str] = ()
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
    def precision(self) -> Precision:
        """Return the precision of the file's weights."""
        return detect_precision(self.path)

    @property
    def random_node(self) -> str | None:
        """Return the file's."""
        return find_random_node(self.path)

    @property
    def placement(self) -> Placement:
        """Return the graph's node count, all on the CPU."""
        return Placement("cpu", self._nodes)

    def load(self) -> None:
        """Load the model; raises as `Runtime.load` says."""
        from onnx.reference import ReferenceEvaluator

        model = load_with_weights(self.path)
        self._signature, self._nodes = get_signature(model), len(model.graph.node)
        prepared = self._prepare(model)
        self._computed = intermediate_names(prepared.graph)
        try:
            self._evaluator = ReferenceEvaluator(prepared, new_ops=self._operators())
        except Exception as error:  # an operator without an implementation, a graph that is invalid
            raise ArtifactError(f"{self.path}: the reference evaluator rejects it: {first_line(error)}") from error

    def close(self) -> None:
        """Release the model."""
        self._evaluator = None

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        assert self._evaluator is not None, "enter the runtime first"
        try:
            with np.errstate(all="ignore"):
                every: Any = self._evaluator.run(None, self._cast_feeds(feeds), intermediate=True)
        except Exception as error:  # operators raise whatever numpy does
            raise CheckFailedError(f"{self.path}: fails in the reference evaluator: {first_line(error)}") from error
        wanted = [output.name for output in self._signature.outputs]
        if self.options.all_outputs:
            wanted = list(dict.fromkeys([*self._computed, *wanted]))
        return {name: every[name] for name in wanted if every.get(name) is not None}

    def _prepare(self, model: Any) -> Any:
        return model

    def _operators(self) -> list[type[OpRun]]:
        from exporter.engines.reference_ops import MaxPool

        return [MaxPool]

    def _cast_feeds(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        return dict(feeds)


class Float64Graph(OnnxReference):
    """The same graph with every number in float64. Convolutions and max pools run in torch, as exactly and faster."""

    dtype: Literal["float32", "float64"] = "float64"

    @property
    def description(self) -> str:
        """Return `m.onnx in float64`."""
        return f"{self.path.name} in {self.dtype} (onnx reference evaluator)"

    @property
    def precision(self) -> Precision:
        """Return the precision that it is run in."""
        return self.dtype

    def _prepare(self, model: Any) -> Any:
        return cast_model(model, self.dtype)

    def _operators(self) -> list[type[OpRun]]:
        from exporter.engines.reference_ops import BatchNormalization, Conv, ConvTranspose, MaxPool

        return [BatchNormalization, Conv, ConvTranspose, MaxPool]

    def _cast_feeds(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        floats = {value.name for value in self._signature.inputs if "float" in value.dtype}
        return {name: value.astype(self.dtype) if name in floats else value for name, value in feeds.items()}


class Float32Graph(Float64Graph):
    """The same graph with every number in float32."""

    dtype = "float32"
