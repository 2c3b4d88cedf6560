"""One module per engine that can run a model. A new engine is one module and one row of `ENGINES`.

`verify` and `bench` run models through the same adapters, with the same settings. Only the module of an engine that is
used gets imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from exporter.engines.base import Runtime, RuntimeOptions
from exporter.errors import UnavailableError, UsageError
from exporter.results import ReferencePrecision
from exporter.types import DEVICES, FORMAT_NAMES, ComputePrecision, Device, FormatName
from models.errors import install_command

CPU: tuple[Device, ...] = ("cpu",)
GPU: tuple[Device, ...] = ("cpu", "cuda")

ModelKind = FormatName | Literal["network", "plain", "mnn"]
"""What an engine runs: an artifact's format, the network itself, only the unoptimized ONNX graph that `bench` compares
with, or the file that MNN's converter writes."""


MAX_THREADS = 1024
"""An engine starts as many as it is asked for: a million take all that the system has, from every program."""


@dataclass(frozen=True)
class Engine:
    """An engine.

    Attributes:
        name: its name on the command line.
        display_name: its name in reports.
        runs: the kinds of model that it runs.
        runtime: its adapter, as `module:callable`, where a leading dot is this package; the callable takes (path,
            `RuntimeOptions`) and returns a `Runtime`.
        devices: the devices it can use.
        library: the Python module it needs, which is also the package's name.
        unsupported_inputs: input types on which it is known to differ from the specification, whatever the artifact.
        in_bench: whether `bench --engines` adds it.
        emulates: the precision whose arithmetic it emulates, which makes it the default for verifying artifacts that
            compute in it, where no other device is asked for; None for engines that people deploy.
        extra: the extra of this package that installs the library; "" for what is always installed.
    """

    name: str
    display_name: str
    runs: tuple[ModelKind, ...]
    runtime: str
    devices: tuple[Device, ...]
    library: str
    unsupported_inputs: tuple[str, ...] = ()
    in_bench: bool = True
    emulates: ComputePrecision | None = None
    extra: str = ""

    @property
    def install(self) -> str:
        """The command that installs the library, in the version that this package supports."""
        return install_command(self.extra) if self.extra else f"pip install {self.library}"

    def open(self, path: Path, options: RuntimeOptions) -> Runtime:
        """Return a runtime for a model file. It acquires nothing before it is entered."""
        return import_attribute(self.runtime)(path, options)

    def choose_device(self, device: Device | None) -> Device:
        """Return the device asked for, or the engine's first, which is the CPU for each that can use it."""
        return device or self.devices[0]

    def require_device(self, device: Device) -> None:
        """Refuse a device that cannot be used here, before any long computation.

        Raises:
            UnavailableError: the library, or the device, is missing.
        """
        if device not in self.devices:
            raise UnavailableError(f"--device {device}: {self.display_name} runs on {' and '.join(self.devices)} only")
        if find_spec(self.library) is None:
            raise UnavailableError(f"{self.display_name} is not installed; {self.install}")
        module = DEVICE_CHECKS.get(self.library, self.runtime.partition(":")[0])
        if check := getattr(import_module(module, __name__), "require_device", None):
            check(device)


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("onnxruntime", "onnxruntime", ("onnx",), ".onnxruntime:OnnxRuntime", DEVICES, "onnxruntime"),
        Engine(
            "torchscript",
            "TorchScript",
            ("torchscript",),
            ".torchscript:TorchScriptRuntime",
            GPU,
            "torch",
            in_bench=False,
        ),
        Engine("torch-export", "torch.export", ("pt2",), ".pt2:ExportedProgramRuntime", GPU, "torch", in_bench=False),
        # TensorRT does not say what its layers make of NaN
        Engine(
            "tensorrt-runtime",
            "TensorRT",
            ("tensorrt",),
            ".tensorrt:TensorRtRuntime",
            ("cuda",),
            "tensorrt",
            ("nan",),
            in_bench=False,
            extra="tensorrt",
        ),
        # AOTInductor merges ReLU into oneDNN's convolutions, which turn NaN into a number
        Engine(
            "aot-inductor",
            "AOTInductor",
            ("pt2-aoti",),
            ".aoti:AotiRuntime",
            CPU,
            "torch",
            ("nan",),
            in_bench=False,
        ),
        Engine("torch", "torch eager", ("network",), ".pytorch:open_network", GPU, "torch"),
        Engine("inductor", "torch inductor", ("network",), ".pytorch:open_compiled_network", GPU, "torch"),
        # OpenVINO's ReLU and max pool turn NaN into a number
        Engine(
            "openvino",
            "OpenVINO",
            ("onnx", "openvino"),
            ".openvino:open_model",
            CPU,
            "openvino",
            ("nan",),
            extra="openvino",
        ),
        Engine(
            "openvino-default",
            "OpenVINO default",
            ("plain",),
            ".openvino:OpenVinoDefaultRuntime",
            CPU,
            "openvino",
            extra="openvino",
        ),
        Engine(
            "onnx-reference",
            "onnx's evaluator",
            ("onnx",),
            ".onnx_reference:OnnxReference",
            CPU,
            "onnx",
            in_bench=False,
        ),
        Engine(
            "float16-emulation",
            "float16 emulation",
            ("onnx",),
            ".float16_emulation:Float16Emulation",
            CPU,
            "onnx",
            in_bench=False,
            emulates="fp16",
        ),
        Engine("mnn", "MNN", ("mnn",), ".mnn:MnnRuntime", CPU, "MNN", extra="peers"),
    )
}
"""Every engine by name. The first of each format runs its files unless another is named."""

DEVICE_CHECKS = {"torch": ".torch_settings", "tensorrt": ".tensorrt_library"}
"""{library: the module whose `require_device` refuses a device that it cannot use here}; else it is the adapter's."""

FLOAT_RUNTIMES: dict[ModelKind, str] = {
    "onnx": ".onnx_reference:FloatGraph",
    "torchscript": ".torchscript:FloatScript",
    "pt2": ".pt2:FloatProgram",
}
"""{format: the adapter that runs its files with every number in one type, its third argument}."""


def engine_names() -> list[str]:
    """Return the names of the engines that run artifacts."""
    return [engine.name for engine in ENGINES.values() if set(engine.runs) & set(FORMAT_NAMES)]


def bench_engines() -> list[Engine]:
    """Return the engines that `bench --engines` adds."""
    return [engine for engine in ENGINES.values() if engine.in_bench]


def find_verifying_engine(
    artifact_format: FormatName, name: str | None, precision: ComputePrecision = "fp32", device: Device | None = None
) -> Engine:
    """Return the engine that verifies an artifact: the one named, an emulation of its precision, or the default.

    An emulation stands in where the default engine would run on the CPU, which does not compute in that precision.

    Raises:
        UsageError: see `find_engine`.
    """
    for engine in ENGINES.values():
        emulated = engine.emulates == precision and artifact_format in engine.runs
        if emulated and name is None and device in (None, *engine.devices):
            return engine
    return find_engine(artifact_format, name)


def find_engine(artifact_format: FormatName, name: str | None = None) -> Engine:
    """Return the engine for a format: the one named, or the format's default.

    Raises:
        UsageError: there is no such engine, or it does not run that format.
    """
    able = {engine.name: engine for engine in ENGINES.values() if artifact_format in engine.runs}
    if name is None:
        return next(iter(able.values()))
    if name not in able:
        raise UsageError(f"{name} does not run {artifact_format} files; {', '.join(able)} can")
    return able[name]


def open_reference(
    artifact_format: FormatName, path: Path, precision: ReferencePrecision, options: RuntimeOptions
) -> Runtime:
    """Return a runtime for a file with every number in `precision`: its float64 reference, or its float32 baseline.

    Raises:
        UsageError: nothing computes files of that format in float64.
    """
    require_float64(artifact_format, path)
    return import_attribute(FLOAT_RUNTIMES[artifact_format])(path, options, precision)


def require_float64(artifact_format: FormatName, path: Path) -> None:
    """Refuse a file that cannot be a float64 reference, before any long computation.

    Raises:
        UsageError: nothing computes files of that format in float64.
    """
    if artifact_format not in FLOAT_RUNTIMES:
        raise UsageError(
            f"{path}: nothing computes {artifact_format} files in float64, so this one cannot be the reference; take "
            f"the same network as {' or '.join(FLOAT_RUNTIMES)}"
        )


def import_attribute(reference: str) -> Callable[..., Runtime]:
    """Import what `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module, __name__), name)
