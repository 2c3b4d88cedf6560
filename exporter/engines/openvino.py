"""ONNX files in OpenVINO, on the CPU."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from exporter.engines.base import RuntimeOptions, Tensors
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from exporter.onnx_io.all_outputs import with_all_outputs
from exporter.onnx_io.precision import detect_precision
from exporter.onnx_io.signature import read_signature
from exporter.results import Placement, Precision
from exporter.types import Device
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO computes in bfloat16 where the processor can, unless configured otherwise."""
BFLOAT16 = "bfloat16"
MISSING = "OpenVINO is not installed; pip install 'c3d-export[openvino]'"


class OpenVino:
    """An ONNX file, compiled by OpenVINO for the CPU."""

    def __init__(self, path: Path, settings: RuntimeOptions) -> None:
        self.path, self.settings = path, settings
        self._compiled: Any = None
        self._signature = Signature((), ())

    @property
    def description(self) -> str:
        """Return `OpenVINO 2026.4.1 (cpu)`."""
        return f"OpenVINO {_library().__version__.split('-')[0]} (cpu)"

    @property
    def signature(self) -> Signature:
        """Return the graph's own account: a compiled port has every name that its tensor ever had, in no order."""
        return self._signature

    @property
    def precision(self) -> Precision:
        """Return what the file's weights state."""
        return detect_precision(self.path)

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
            model = (
                core.read_model(with_all_outputs(self.path))
                if self.settings.all_outputs
                else core.read_model(str(self.path))
            )
            self._compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise ArtifactError(f"{self.path}: OpenVINO refuses it: {_reason(error)}") from error
        self._signature = read_signature(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the model go."""
        self._compiled = None

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        try:
            answers = self._compiled({name: _tensor(values) for name, values in feeds.items()})
        except RuntimeError as error:
            raise CheckFailedError(f"{self.path}: fails in OpenVINO: {_reason(error)}") from error
        return {name: _array(port, answers[port]) for port in self._compiled.outputs for name in port.get_names()}


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


def _tensor(values: NDArray[Any]) -> Any:
    """Return an array as OpenVINO takes it, which needs bfloat16 stated."""
    if values.dtype.name != BFLOAT16:
        return values
    library = _library()
    return library.Tensor(np.ascontiguousarray(values).view(np.float16), values.shape, library.Type.bf16)


def _array(port: Any, values: NDArray[Any]) -> NDArray[Any]:
    """Return a port's values; OpenVINO hands out bfloat16 under the name of float16."""
    if port.get_element_type().get_type_name() != "bf16":
        return values.copy()
    import ml_dtypes

    return values.view(ml_dtypes.bfloat16).astype(np.float32)


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reported = [line for line in lines if not re.match(r"(Exception from|Check '|src/|\[)", line)]
    return (reported or lines or ["unknown"])[0]
