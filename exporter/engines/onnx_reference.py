"""ONNX files in onnx's own reference evaluator: the specification, executed. Slow, and and no optimiser but its own.

`Float64Graph` runs the same evaluator in float64: the float64 reference of a graph that has no network to go with it.
`Float32Graph` is its measure where the file itself computes in less.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from exporter.engines.base import RuntimeOptions, Tensors
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from exporter.onnx_io.all_outputs import intermediate_names
from exporter.onnx_io.cast import cast_model
from exporter.onnx_io.load import load_with_weights
from exporter.onnx_io.precision import detect_precision
from exporter.onnx_io.signature import get_signature
from exporter.results import Placement, Precision
from exporter.types import Device
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun


class OnnxReference:
    """An ONNX file in the reference evaluator, in the dtypes it states. Its max pool is torch's (see `kernels`)."""

    def __init__(self, path: Path, settings: RuntimeOptions) -> None:
        self.path, self.settings = path, settings
        self._evaluator: ReferenceEvaluator | None = None
        self._signature = Signature((), ())
        self._computed: list[str] = []
        self._nodes = 0

    @property
    def description(self) -> str:
        """Return `onnx reference evaluator 1.23.2`."""
        import onnx

        return f"onnx reference evaluator {onnx.__version__}"

    @property
    def signature(self) -> Signature:
        """Return the graph's own account."""
        return self._signature

    @property
    def precision(self) -> Precision:
        """Return what the file's weights state."""
        return detect_precision(self.path)

    @property
    def placement(self) -> Placement:
        """Return the graph's node count, all on the CPU."""
        return Placement("cpu", self._nodes)

    def __enter__(self) -> Self:
        """Load the model; raises as `Runtime.__enter__` says."""
        from onnx.reference import ReferenceEvaluator

        require_device(self.settings.device)
        model = load_with_weights(self.path)
        self._signature, self._nodes = get_signature(model), len(model.graph.node)
        prepared = self._prepared(model)
        self._computed = intermediate_names(prepared.graph)
        try:
            self._evaluator = ReferenceEvaluator(prepared, new_ops=self._kernels())
        except Exception as error:  # an operator without an implementation, a graph that is invalid
            raise ArtifactError(f"{self.path}: the reference evaluator refuses it: {first_line(error)}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the model go."""
        self._evaluator = None

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        assert self._evaluator is not None, "enter the runtime first"
        try:
            with np.errstate(all="ignore"):
                every: Any = self._evaluator.run(None, self._fed(feeds), intermediate=True)
        except Exception as error:  # operators raise whatever numpy does
            raise CheckFailedError(f"{self.path}: fails in the reference evaluator: {first_line(error)}") from error
        wanted = [output.name for output in self._signature.outputs]
        if self.settings.all_outputs:
            wanted = list(dict.fromkeys([*self._computed, *wanted]))
        return {name: every[name] for name in wanted if every.get(name) is not None}

    def _prepared(self, model: Any) -> Any:
        return model

    def _kernels(self) -> list[type[OpRun]]:
        from exporter.engines.reference_ops import MaxPool

        return [MaxPool]

    def _fed(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
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

    def _prepared(self, model: Any) -> Any:
        return cast_model(model, self.dtype)

    def _kernels(self) -> list[type[OpRun]]:
        from exporter.engines.reference_ops import BatchNormalization, Conv, ConvTranspose, MaxPool

        return [BatchNormalization, Conv, ConvTranspose, MaxPool]

    def _fed(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        kinds = {value.name: value.dtype for value in self._signature.inputs}
        floats = {name for name, kind in kinds.items() if "float" in kind}
        return {name: value.astype(self.dtype) if name in floats else value for name, value in feeds.items()}


class Float32Graph(Float64Graph):
    """The same graph with every number in float32."""

    dtype = "float32"


def require_device(device: Device) -> None:
    """Refuse anything but the CPU.

    Raises:
        UnavailableError: always, elsewhere.
    """
    if device != "cpu":
        raise UnavailableError(f"--device {device}: onnx's reference evaluator runs on the CPU only")


def first_line(error: Exception) -> str:
    """Return an error's first line, or its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
