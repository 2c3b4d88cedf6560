"""ONNX files in onnxruntime, on the CPU, CUDA or TensorRT provider."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from exporter.engines.base import OnnxFileRuntime, Tensors
from exporter.engines.ort_sessions import quiet_options
from exporter.engines.ort_values import run_session
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError
from exporter.results import Placement
from exporter.types import Device
from models.errors import one_line
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

CUDA_OPTIONS = {"use_tf32": "0"}
"""TF32 keeps 10 bits of mantissa; parity is about float32 arithmetic."""

FLOAT16_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"}
"""For graphs with float16 layers. With the default, EXHAUSTIVE, onnxruntime-gpu 1.31 computes 3-D convolutions in
float16 no faster than in float32; with cuDNN's heuristic it is up to 6 times as fast (benchmarks/results/gpu.md). In
float32 EXHAUSTIVE is the faster one."""

NO_TF32 = "NVIDIA_TF32_OVERRIDE"
"""The variable by which NVIDIA's libraries turn TF32 off; TensorRT's provider has no option of its own for it."""

RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"
"""The setting that makes a session record which provider runs each node."""
STOP_SPINNING = "session.force_spinning_stop"
"""The setting that lets the session's threads sleep between runs."""
DATA_FOLDER = "session.model_external_initializers_file_folder_path"
"""The setting for the folder of a model's data files, where the model is given as bytes."""

MISSING = (
    "--device {device}: the installed onnxruntime has no {provider}; "
    "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
)
UNUSABLE = (
    "--device {device}: onnxruntime-gpu is installed but could not start {provider} here; "
    "it needs an NVIDIA driver and the {libraries} libraries of its version; {install}"
)
FLOAT16_ON_CPU = (
    "onnxruntime's CPU provider computes float16 layers in float32, with float32's range: outputs and times on "
    "a GPU will differ"
)
FLOAT16_ON_CUDA = (
    "run with the CUDA provider's options "
    + ", ".join(f"{name}={value}" for name, value in FLOAT16_CUDA_OPTIONS.items())
    + "; set them in your session too: its defaults are up to 6 times slower in float16"
)
LIBRARIES: dict[Device, tuple[str, str]] = {
    "cuda": ("CUDA and cuDNN", "pip install 'onnxruntime-gpu[cuda,cudnn]' installs these"),
    "tensorrt": ("CUDA, cuDNN and TensorRT", "pip install 'onnxruntime-gpu[cuda,cudnn]' 'tensorrt<11' installs these"),
}
"""{device: the libraries of its provider, and the command that installs them}. Up to onnxruntime-gpu 1.31 the TensorRT
provider is linked with TensorRT 10."""


class OnnxRuntime(OnnxFileRuntime):
    """An ONNX file in an onnxruntime session."""

    library = "onnxruntime"
    _session: onnxruntime.InferenceSession | None = None
    _output_names: Sequence[str] = ()

    @property
    def description(self) -> str:
        """Return `onnxruntime 1.32.0 (cpu)`."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__} ({self.options.device})"

    @property
    def max_seconds(self) -> float | None:
        """Return no limit for TensorRT's provider: it builds its engines while it loads and runs."""
        return math.inf if self.options.device == "tensorrt" else None

    def load_model(self) -> None:
        """Create the session; raises as `Runtime.load` says."""
        import onnxruntime

        from exporter.onnx_io.layer_types import has_float16_layers

        device = self.options.device
        require_device(device)
        if device != "cpu":
            _preload_libraries(device)
        options = quiet_options(threads=self.options.threads or 0)
        options.add_session_config_entry(RECORD_PLACEMENT, "1")
        if self.options.rest_between_runs:
            options.add_session_config_entry(STOP_SPINNING, "1")
        model: str | bytes = str(self.path)
        if self.options.all_outputs or self.options.extra_outputs:
            from exporter.onnx_io.all_outputs import with_all_outputs

            options.add_session_config_entry(DATA_FOLDER, str(self.path.parent.absolute()))
            names = None if self.options.all_outputs else self.options.extra_outputs
            model = with_all_outputs(self.path, external=False, names=names)
        try:
            providers = _providers(device, float16=device != "cpu" and has_float16_layers(self.path))
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # its exceptions share no base class
            raise ArtifactError(f"{self.path}: onnxruntime rejects it: {_reason(error)}") from error
        if PROVIDERS[device] not in self._session.get_providers():
            libraries, install = LIBRARIES[device]
            raise UnavailableError(
                UNUSABLE.format(device=device, provider=PROVIDERS[device], libraries=libraries, install=install)
            )
        self._output_names = [node.name for node in self._session.get_outputs()]

    def close(self) -> None:
        """Release the session."""
        self._session = None

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """The session, between entry and exit."""
        assert self._session is not None, "enter the runtime first"
        return self._session

    @property
    def signature(self) -> Signature:
        """Return the session's inputs and outputs; an output's sizes are those that the file states.

        onnxruntime replaces them by what onnx infers, which for some pools is wrong (`exporter.onnx_io.ceil_pools`).
        """
        from exporter.onnx_io.dtypes import numpy_name
        from exporter.onnx_io.signature import free_size

        def spec(node: Any) -> TensorSpec:
            dtype = re.sub(r"tensor\((\w+)\)", lambda found: numpy_name(found[1]), node.type)
            return TensorSpec(node.name, dtype, tuple(map(free_size, node.shape)))

        stated = {value.name: value.shape for value in self.file_signature.outputs}

        def output(node: Any) -> TensorSpec:
            found = spec(node)
            shape = stated.get(found.name, ())
            if len(shape) != len(found.shape):
                return found
            sizes = zip(shape, found.shape, strict=True)
            return replace(found, shape=tuple(size if isinstance(size, int) else own for size, own in sizes))

        return Signature(
            tuple(spec(node) for node in self.session.get_inputs()),
            tuple(output(node) for node in self.session.get_outputs()),
        )

    @property
    def placement(self) -> Placement:
        """Count the session's nodes by provider."""
        return count_placement(self.options.device, self.session.get_provider_graph_assignment_info())

    @property
    def notes(self) -> tuple[str, ...]:
        """State what float16 on a CPU proves, the CUDA options for float16, and which int8 layers are dequantised."""
        from exporter.onnx_io.layer_types import has_float16_layers

        if self.options.all_outputs or self.options.extra_outputs:
            return ()
        if self.options.device != "cpu":
            return (FLOAT16_ON_CUDA,) if has_float16_layers(self.path) else ()
        from exporter.engines.dequantized_layers import describe_dequantized_layers

        dequantized = describe_dequantized_layers(self.path)
        float16 = (FLOAT16_ON_CPU,) if has_float16_layers(self.path) else ()
        return (*float16, *(() if dequantized is None else (dequantized,)))

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        try:
            outputs = run_session(self.session, self._output_names, feeds)
        except Exception as error:  # its exceptions share no base class
            shapes = ", ".join(f"{name} {_shape(value)}" for name, value in feeds.items())
            raise CheckFailedError(f"{self.path}: fails on {shapes}: {_reason(error)}") from error
        return dict(zip(self._output_names, outputs, strict=True))


def _shape(value: Any) -> str:
    """Return the shape of an array, or those of a sequence's items."""
    return f"[{', '.join(map(_shape, value))}]" if isinstance(value, list) else str(value.shape)


def _providers(device: Device, *, float16: bool) -> list[Any]:
    """Return the providers in order of preference. Each runs what those before it cannot; `placement` counts that."""
    wanted: list[Any] = [PROVIDERS["cpu"]]
    if device != "cpu":
        wanted.insert(0, (PROVIDERS["cuda"], CUDA_OPTIONS | (FLOAT16_CUDA_OPTIONS if float16 else {})))
    if device == "tensorrt":
        os.environ[NO_TF32] = "0"
        wanted.insert(0, PROVIDERS["tensorrt"])
    return wanted


def _preload_libraries(device: Device) -> None:
    """Load the NVIDIA libraries that pip has installed, where the system's loader does not look for them.

    onnxruntime says on stdout which ones it does not find, although the system may have them.
    """
    import onnxruntime

    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
        if device == "tensorrt":
            with contextlib.suppress(ImportError, OSError):  # the system may have its libraries without the package
                import_module("tensorrt")


def require_device(device: Device) -> None:
    """Refuse a device that the installed onnxruntime has no provider for.

    Raises:
        UnavailableError: the package is missing; the message names it.
    """
    import onnxruntime

    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise UnavailableError(MISSING.format(device=device, provider=PROVIDERS[device]))


def count_placement(device: Device, assignments: Sequence[Any]) -> Placement:
    """Count nodes by provider, from onnxruntime's list of subgraphs (`ep_name`, `get_nodes()`)."""
    nodes = 0
    fallback_nodes: list[str] = []
    for subgraph in assignments:
        members = subgraph.get_nodes()
        nodes += len(members)
        if subgraph.ep_name != PROVIDERS[device]:
            fallback_nodes += [f"{node.name} ({node.op_type})" for node in members]
    return Placement(device, nodes, tuple(fallback_nodes))


def _reason(error: Exception) -> str:
    """Return onnxruntime's reason without its source paths and function signatures."""
    opset = re.search(r"Opset (\d+) is under development.*?till opset (\d+)", str(error), re.DOTALL)
    if opset:
        return f"opset {opset[1]} is newer than this onnxruntime knows ({opset[2]}); export with --opset {opset[2]}"
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ", "", one_line(error))
