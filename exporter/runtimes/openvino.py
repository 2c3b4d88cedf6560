"""ONNX files in OpenVINO, on the CPU."""

import re
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from exporter.runtimes.base import Settings, Values
from exporter.runtimes.graph import arithmetic_of, exposed, load_graph, signature_of
from exporter.types import Device, Signature
from exporter.verdicts import Arithmetic, Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO computes in bfloat16 where the processor can, unless told otherwise."""
MISSING = "OpenVINO is not installed; pip install 'c3d-export[openvino]'"


class OpenVino:
    """An ONNX file, compiled by OpenVINO for the CPU."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self._compiled: Any = None

    @property
    def title(self) -> str:
        """Return `OpenVINO 2026.4.1 (cpu)`."""
        return f"OpenVINO {_library().__version__.split('-')[0]} (cpu)"

    @property
    def signature(self) -> Signature:
        """Return the graph's own account: a compiled port has every name that its tensor ever had, in no order."""
        return signature_of(load_graph(self.path))

    @property
    def arithmetic(self) -> Arithmetic:
        """Return what the file's weights state."""
        return arithmetic_of(self.path)

    @property
    def placement(self) -> Placement:
        """Return the executed graph's size; all of it is on the CPU."""
        nodes = self._compiled.get_runtime_model().get_ops()
        return Placement("cpu", sum(op.get_type_name() not in ("Parameter", "Result") for op in nodes))

    def __enter__(self) -> Self:
        """Compile the model; raises as `Runtime.__enter__` says."""
        require_device(self.settings.device)
        options: dict[str, Any] = dict(FLOAT32)
        if self.settings.threads is not None:
            options["INFERENCE_NUM_THREADS"] = self.settings.threads
        try:
            core = _library().Core()
            model = core.read_model(exposed(self.path)) if self.settings.expose else core.read_model(str(self.path))
            self._compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise ArtifactError(f"{self.path}: OpenVINO refuses it: {_reason(error)}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the model go."""
        self._compiled = None

    def run(self, feeds: Values) -> "dict[str, NDArray[Any]]":
        """Run one batch."""
        try:
            answers = self._compiled(dict(feeds))
        except RuntimeError as error:
            raise CheckFailedError(f"{self.path}: fails in OpenVINO: {_reason(error)}") from error
        return {name: answers[port].copy() for port in self._compiled.outputs for name in port.get_names()}


def require_device(device: Device) -> None:
    """Refuse anything but the CPU, and a missing library.

    Raises:
        UnavailableError: with the package to install.
    """
    if device != "cpu":
        raise UnavailableError(f"--device {device}: OpenVINO runs on the CPU here; onnxruntime has CUDA and TensorRT")
    _library()


def _library() -> Any:
    """Return OpenVINO, untyped: an optional package, whose stubs do not tell all that it holds.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        return import_module("openvino")
    except ImportError as error:
        raise UnavailableError(MISSING) from error


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not re.match(r"(Exception from|Check '|src/|\[)", line)]
    return (told or lines or ["unknown"])[0]
