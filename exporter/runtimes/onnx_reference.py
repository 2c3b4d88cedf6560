"""ONNX files in onnx's own reference evaluator: the specification, executed. Slow, and nobody else's optimiser.

`Float64Graph` runs the same evaluator in float64: the truth of a graph that has no network to go with it.
"""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from exporter.errors import CheckFailedError, UnavailableError
from exporter.runtimes.base import Settings, Values
from exporter.runtimes.graph import arithmetic_of, load_whole, signature_of, to_float64
from exporter.types import Device, Signature
from exporter.verdicts import Arithmetic, Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun


class OnnxReference:
    """An ONNX file in the reference evaluator, in the dtypes it states."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self._evaluator: ReferenceEvaluator | None = None
        self._signature = Signature((), ())
        self._nodes = 0

    @property
    def title(self) -> str:
        """Return `onnx reference evaluator 1.23.2`."""
        import onnx

        return f"onnx reference evaluator {onnx.__version__}"

    @property
    def signature(self) -> Signature:
        """Return the graph's own account."""
        return self._signature

    @property
    def arithmetic(self) -> Arithmetic:
        """Return what the file's weights state."""
        return arithmetic_of(self.path)

    @property
    def placement(self) -> Placement:
        """Return the graph's node count, all on the CPU."""
        return Placement("cpu", self._nodes)

    def __enter__(self) -> Self:
        """Load the model; raises as `Runtime.__enter__` says."""
        from onnx.reference import ReferenceEvaluator

        require_device(self.settings.device)
        model = load_whole(self.path)
        self._signature, self._nodes = signature_of(model), len(model.graph.node)
        self._evaluator = ReferenceEvaluator(self._prepared(model), new_ops=self._kernels())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the model go."""
        self._evaluator = None

    def run(self, feeds: Values) -> "dict[str, NDArray[Any]]":
        """Run one batch."""
        assert self._evaluator is not None, "enter the runtime first"
        try:
            with np.errstate(all="ignore"):
                every: Any = self._evaluator.run(None, self._fed(feeds), intermediate=True)
        except Exception as error:  # operators raise whatever numpy does
            raise CheckFailedError(f"{self.path}: fails in the reference evaluator: {error}") from error
        outputs = [output.name for output in self._signature.outputs]
        if not self.settings.expose:
            return {name: every[name] for name in outputs}
        given = {value.name for value in self._signature.inputs} | set(self._evaluator.rt_inits_)
        return {name: value for name, value in every.items() if name and name not in given and value is not None}

    def _prepared(self, model: Any) -> Any:
        return model

    def _kernels(self) -> "list[type[OpRun]]":
        return []

    def _fed(self, feeds: Values) -> "dict[str, NDArray[Any]]":
        return dict(feeds)


class Float64Graph(OnnxReference):
    """The same graph with every number in float64. Convolutions and max pools run in torch, as exactly and faster."""

    @property
    def title(self) -> str:
        """Return `m.onnx in float64`."""
        return f"{self.path.name} in float64 (onnx reference evaluator)"

    def _prepared(self, model: Any) -> Any:
        return to_float64(model)

    def _kernels(self) -> "list[type[OpRun]]":
        from exporter.runtimes.kernels import BatchNormalization, Conv, ConvTranspose, MaxPool

        return [BatchNormalization, Conv, ConvTranspose, MaxPool]

    def _fed(self, feeds: Values) -> "dict[str, NDArray[Any]]":
        kinds = {value.name: value.dtype for value in self._signature.inputs}
        return {
            name: value.astype(np.float64) if "float" in kinds.get(name, "") else value for name, value in feeds.items()
        }


def require_device(device: Device) -> None:
    """Refuse anything but the CPU.

    Raises:
        UnavailableError: always, elsewhere.
    """
    if device != "cpu":
        raise UnavailableError(f"--device {device}: onnx's reference evaluator runs on the CPU only")
