"""ONNX files and OpenVINO models in OpenVINO, on the CPU."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import OnnxFileRuntime, Runtime, RuntimeOptions, Tensors
from exporter.errors import ArtifactError, CheckFailedError
from exporter.foreign_logging import import_openvino
from exporter.openvino_ir import BFLOAT16, IR_SUFFIX, PRECISION_HINT, IrModel, compile_options, read_ir
from exporter.results import Placement, Precision
from models.specs import Signature
from models.text import split_lines

THREADS = "INFERENCE_NUM_THREADS"


def open_model(path: Path, options: RuntimeOptions) -> OpenVinoRuntime:
    """Return the runtime for an ONNX file or an OpenVINO model (`.xml` with `.bin`)."""
    return (OpenVinoIrRuntime if path.suffix == IR_SUFFIX else OpenVinoOnnxRuntime)(path, options)


class OpenVinoRuntime(Runtime):
    """A model file, compiled by OpenVINO for the CPU."""

    library = "OpenVINO"
    _model: Any = None
    _compiled: Any = None
    _shapes: Mapping[str, tuple[int, ...]] | None = None
    _ports: list[tuple[Any, bool, list[str]]]

    @property
    def description(self) -> str:
        """Return `OpenVINO 2026.4.1 (cpu)`, with the precision hint where it is not float32."""
        hint = compile_options(self.options.precision)[PRECISION_HINT]
        lower = f", {PRECISION_HINT} {hint}" if hint == BFLOAT16 else ""
        return f"OpenVINO {import_openvino().__version__.split('-')[0]} (cpu{lower})"

    @property
    def placement(self) -> Placement:
        """Return the number of the compiled graph's nodes; all of them run on the CPU."""
        nodes = self._compiled.get_runtime_model().get_ops()
        return Placement("cpu", sum(op.get_type_name() not in ("Parameter", "Result") for op in nodes))

    @abstractmethod
    def _read(self) -> Any:
        """Return the model, not compiled; with `all_outputs` it returns every value."""

    def load_model(self) -> None:
        """Compile the model; raises as `Runtime.load` says."""
        try:
            self._model = self._read()
            self._compile(self.options.input_shapes)
        except RuntimeError as error:
            raise ArtifactError(f"{self.path}: OpenVINO rejects it: {_reason(error)}") from error

    def close(self) -> None:
        """Release the model."""
        self._model = self._compiled = None
        self._ports = []

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
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

    def _precision_options(self) -> dict[str, str]:
        return compile_options(self.options.precision)

    def _compile(self, shapes: Mapping[str, tuple[int, ...]] | None) -> None:
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", **self._precision_options()}
        if self.options.threads is not None:
            settings[THREADS] = self.options.threads
        if shapes is not None:
            self._model.reshape({name: list(shape) for name, shape in shapes.items()})
        self._compiled = None  # two compiled models would hold the weights twice
        self._compiled = import_openvino().Core().compile_model(self._model, "CPU", settings)
        self._shapes = shapes
        self._ports = [
            (port, port.get_element_type().get_type_name() == BFLOAT16, list(port.get_names()))
            for port in self._compiled.outputs
        ]


class OpenVinoOnnxRuntime(OnnxFileRuntime, OpenVinoRuntime):
    """An ONNX file in OpenVINO."""

    @property
    def signature(self) -> Signature:
        """Return the file's inputs and outputs: a compiled port has every name its tensor ever had, in no order."""
        return self.file_signature

    def _read(self) -> Any:
        model: str | bytes = str(self.path)
        if self.options.all_outputs:
            from exporter.onnx_io.all_outputs import with_all_outputs

            model = with_all_outputs(self.path)
        return import_openvino().Core().read_model(model)


class OpenVinoDefaultRuntime(OpenVinoOnnxRuntime):
    """An ONNX file as OpenVINO runs it with its default precision: for `bench`, beside our own settings."""

    @property
    def description(self) -> str:
        """Return `OpenVINO 2026.4.1 (cpu, its default: bf16)`: what it chose once it is loaded."""
        chosen = self._compiled.get_property(PRECISION_HINT).get_type_name()
        return f"OpenVINO {import_openvino().__version__.split('-')[0]} (cpu, its default: {chosen})"

    def _precision_options(self) -> dict[str, str]:
        return {}


class OpenVinoIrRuntime(OpenVinoRuntime):
    """An OpenVINO model in OpenVINO."""

    @cached_property
    def _ir(self) -> IrModel:
        return read_ir(self.path)

    @property
    def signature(self) -> Signature:
        """Return the file's inputs and outputs."""
        return self._ir.signature

    @property
    def precision(self) -> Precision:
        """Return the lowest precision of the weights and of what computes with them."""
        found = self._ir.precision
        return "bfloat16" if self.options.precision == "bf16" and found != "int8" else found

    @property
    def random_node(self) -> str | None:
        """Return a layer that draws random numbers; None without one."""
        return next((f"{layer.name} ({layer.type})" for layer in self._ir.layers if layer.draws), None)

    def _read(self) -> Any:
        model = import_openvino().Core().read_model(str(self.path))
        if self.options.all_outputs:
            _add_outputs(model)
        return model


def _add_outputs(model: Any) -> None:
    """Make a model return every value that depends on its inputs, under its tensor's name or its layer's."""
    returned = [result.input_value(0) for result in model.get_results()]
    dependent = {parameter.get_name() for parameter in model.get_parameters()}
    for op in model.get_ordered_ops():
        if dependent.isdisjoint(source.get_node().get_name() for source in op.input_values()):
            continue
        dependent.add(op.get_name())
        for number, port in enumerate(op.outputs()):
            if op.get_type_name() in ("Result", "ShapeOf") or port in returned or not port.get_target_inputs():
                continue
            if not port.get_names():
                port.set_names({f"{op.get_friendly_name()}:{number}" if number else op.get_friendly_name()})
            model.add_outputs(port)


def _tensor(values: NDArray[Any]) -> Any:
    """Return an array as OpenVINO takes it; it does not recognise NumPy's bfloat16."""
    if values.dtype.name != "bfloat16":
        return values
    library = import_openvino()
    return library.Tensor(np.ascontiguousarray(values).view(np.float16), values.shape, library.Type.bf16)


def _array(values: NDArray[Any], low: bool) -> NDArray[Any]:
    """Return an output's values; OpenVINO labels bfloat16 as float16."""
    if not low:
        return values
    import ml_dtypes

    return values.view(ml_dtypes.bfloat16).astype(np.float32)


def _reason(error: RuntimeError) -> str:
    lines = split_lines(str(error))
    reported = [line for line in lines if not re.match(r"(Exception from|Check '|src/|\[)", line)]
    return (reported or lines or ["unknown"])[0]
