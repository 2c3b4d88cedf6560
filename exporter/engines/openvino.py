"""ONNX files in OpenVINO, on the CPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.engines.base import Tensors
from exporter.engines.onnx_file import OnnxFileRuntime
from exporter.errors import ArtifactError, CheckFailedError
from exporter.results import Placement
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
"""Without the first, OpenVINO computes in bfloat16 where the processor can."""
THREADS = "INFERENCE_NUM_THREADS"
BFLOAT16 = "bf16"


class OpenVinoRuntime(OnnxFileRuntime):
    """An ONNX file, compiled by OpenVINO for the CPU."""

    _model: Any = None
    _compiled: Any = None
    _shapes: Mapping[str, tuple[int, ...]] | None = None
    _ports: list[tuple[Any, bool, list[str]]]

    @property
    def description(self) -> str:
        """Return `OpenVINO 2026.4.1 (cpu)`."""
        return f"OpenVINO {_library().__version__.split('-')[0]} (cpu)"

    @property
    def signature(self) -> Signature:
        """Return the file's inputs and outputs: a compiled port has every name its tensor ever had, in no order."""
        from exporter.onnx_io.signature import read_signature

        return read_signature(self.path)

    @property
    def placement(self) -> Placement:
        """Return the number of the compiled graph's nodes; all of them run on the CPU."""
        nodes = self._compiled.get_runtime_model().get_ops()
        return Placement("cpu", sum(op.get_type_name() not in ("Parameter", "Result") for op in nodes))

    def load(self) -> None:
        """Compile the model; raises as `Runtime.load` says."""
        model: str | bytes = str(self.path)
        if self.options.all_outputs:
            from exporter.onnx_io.all_outputs import with_all_outputs

            model = with_all_outputs(self.path)
        try:
            self._model = _library().Core().read_model(model)
            self._compile(self.options.input_shapes)
        except RuntimeError as error:
            raise ArtifactError(f"{self.path}: OpenVINO rejects it: {_reason(error)}") from error

    def close(self) -> None:
        """Release the model."""
        self._model = self._compiled = None
        self._ports = []

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        try:
            if self._shapes is not None:
                shapes = {name: values.shape for name, values in feeds.items()}
                if shapes != self._shapes:
                    self._compile(shapes)
            outputs = self._compiled({name: _tensor(values) for name, values in feeds.items()}, share_inputs=True)
        except RuntimeError as error:
            raise CheckFailedError(f"{self.path}: fails in OpenVINO: {_reason(error)}") from error
        return {name: _array(outputs[port], low) for port, low, names in self._ports for name in names}

    def _compile(self, shapes: Mapping[str, tuple[int, ...]] | None) -> None:
        settings: dict[str, Any] = dict(SETTINGS)
        if self.options.threads is not None:
            settings[THREADS] = self.options.threads
        if shapes is not None:
            self._model.reshape({name: list(shape) for name, shape in shapes.items()})
        self._compiled = None  # two compiled models would hold the weights twice
        self._compiled = _library().Core().compile_model(self._model, "CPU", settings)
        self._shapes = shapes
        self._ports = [
            (port, port.get_element_type().get_type_name() == BFLOAT16, list(port.get_names()))
            for port in self._compiled.outputs
        ]


def _library() -> Any:
    """Return OpenVINO, untyped: an optional package, whose stubs are incomplete."""
    return import_module("openvino")


def _tensor(values: NDArray[Any]) -> Any:
    """Return an array as OpenVINO takes it; it does not recognise NumPy's bfloat16."""
    if values.dtype.name != "bfloat16":
        return values
    library = _library()
    return library.Tensor(np.ascontiguousarray(values).view(np.float16), values.shape, library.Type.bf16)


def _array(values: NDArray[Any], low: bool) -> NDArray[Any]:
    """Return an output's values; OpenVINO labels bfloat16 as float16."""
    if not low:
        return values
    import ml_dtypes

    return values.view(ml_dtypes.bfloat16).astype(np.float32)


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reported = [line for line in lines if not re.match(r"(Exception from|Check '|src/|\[)", line)]
    return (reported or lines or ["unknown"])[0]
