"""One module per engine that can run a model. A new engine is one module and one line of `ENGINES`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.engines import onnx_reference, onnxruntime, openvino, torchscript
from exporter.engines.base import Runtime, RuntimeOptions, Tensors
from exporter.engines.onnx_reference import Float32Graph, Float64Graph, OnnxReference
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.engines.openvino import OpenVino
from exporter.engines.torchscript import Float32Script, Float64Script, TorchScriptRuntime
from exporter.errors import UsageError
from exporter.types import Device, EngineName, FormatName

__all__ = ["ENGINES", "Engine", "Runtime", "RuntimeOptions", "Tensors", "find_engine"]


@dataclass(frozen=True)
class Engine:
    """An engine for model files.

    Attributes:
        name: what `--engine` and `--against` call it.
        format: what it runs.
        open: (model file, settings) -> a runtime, nothing taken yet.
        open_float64: the same file with every number in float64, the float64 reference of its format.
        open_float32: the same in float32, the measure where the file computes in less.
        require_device: refuses early, before any long computation, a device that cannot be used here.
        skips: input types on which it is known to differ from the specification, whatever the artifact.
    """

    name: EngineName
    format: FormatName
    open: Callable[[Path, RuntimeOptions], Runtime]
    open_float64: Callable[[Path, RuntimeOptions], Runtime]
    open_float32: Callable[[Path, RuntimeOptions], Runtime]
    require_device: Callable[[Device], None]
    unsupported_inputs: tuple[str, ...] = ()


ENGINES: dict[EngineName, Engine] = {
    engine.name: engine
    for engine in (
        Engine("onnxruntime", "onnx", OnnxRuntime, Float64Graph, Float32Graph, onnxruntime.require_device),
        Engine(
            "torchscript", "torchscript", TorchScriptRuntime, Float64Script, Float32Script, torchscript.require_device
        ),
        # OpenVINO's ReLU and max pool turn NaN into a number
        Engine(
            "openvino",
            "onnx",
            OpenVino,
            Float64Graph,
            Float32Graph,
            openvino.require_device,
            unsupported_inputs=("nan",),
        ),
        Engine("onnx-reference", "onnx", OnnxReference, Float64Graph, Float32Graph, onnx_reference.require_device),
    )
}
"""The first of each format is its own engine, used unless another is named."""


def find_engine(form: FormatName, name: EngineName | None = None) -> Engine:
    """Return the engine for a format: the one named, or the format's own.

    Raises:
        UsageError: the engine does not run that format.
    """
    if name is None:
        return next(engine for engine in ENGINES.values() if engine.format == form)
    if ENGINES[name].format != form:
        able = ", ".join(engine.name for engine in ENGINES.values() if engine.format == form)
        raise UsageError(f"{name} does not run {form} files; {able} can")
    return ENGINES[name]
