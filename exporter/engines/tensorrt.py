"""TensorRT engine files in TensorRT's own runtime, on an NVIDIA GPU. torch holds the inputs and outputs there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.artifacts.files import manifest_path, read_manifest
from exporter.engines.base import WEIGHT_PRECISIONS, Tensors
from exporter.engines.code_file import CodeRuntime
from exporter.engines.tensorrt_library import (
    Platform,
    construct,
    last_error,
    library,
    make_logger,
    recorded_platform,
    require_device,
    this_platform,
)
from exporter.errors import ArtifactError, CheckFailedError, UnavailableError, UsageError
from exporter.results import Placement, Precision
from models.specs import Signature, TensorSpec


class TensorRtRuntime(CodeRuntime):
    """An engine file (`.engine`), as `--format tensorrt` or `trtexec --saveEngine` writes it."""

    library = "TensorRT"
    format = "tensorrt"

    _engine: Any = None
    _context: Any = None
    _stream: Any = None
    _logger: Any = None
    _signature: Signature | None = None
    _notes: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """Return `TensorRT 11.4.0.106 (cuda)`."""
        return f"TensorRT {this_platform().version} ({self.options.device})"

    @property
    def signature(self) -> Signature:
        """Return the engine's inputs and outputs; it does not name its dynamic sizes."""
        assert self._signature is not None, "enter the runtime first"
        return self._signature

    @property
    def precision(self) -> Precision:
        """Return what the manifest states: an engine does not say in what its layers compute."""
        return WEIGHT_PRECISIONS[self.options.precision]

    @property
    def placement(self) -> Placement:
        """Return the number of the engine's layers; all of them run on the GPU."""
        return Placement(self.options.device, self._engine.num_layers)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return whether the engine was built on another model of GPU of the same generation."""
        return self._notes

    def load_model(self) -> None:
        """Deserialise the engine; raises as `Runtime.load` says.

        Raises:
            UnavailableError: it was built by another TensorRT, or for another generation of GPU.
            UsageError: values between its layers are asked for, which an engine does not have.
        """
        if self.options.all_outputs or self.options.extra_outputs:
            raise UsageError(
                f"{self.path}: a TensorRT engine returns its outputs only; compare layers in the ONNX file of the same "
                "network (--format onnx)"
            )
        require_device(self.options.device)
        from exporter.engines.cuda_device import new_stream

        self._notes = self._check_platform(this_platform())
        self._logger = make_logger()
        runtime = construct("Runtime", self._logger)
        with self.open_code() as stream:
            plan = stream.read()
        self._engine = runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ArtifactError(f"{self.path}: TensorRT rejects it: {last_error(self._logger)}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise ArtifactError(f"{self.path}: TensorRT cannot run it: {last_error(self._logger)}")
        self._signature = self._read_signature()
        self._stream = new_stream()

    def close(self) -> None:
        """Release the engine."""
        self._context = self._engine = self._stream = None  # the context goes before its engine

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        import torch

        from exporter.engines.cuda_device import MEMORY

        context = self._context
        tensors = {
            name: torch.from_numpy(np.require(values, requirements=("C", "W"))).to(MEMORY)
            for name, values in feeds.items()
        }
        for name, tensor in tensors.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                raise CheckFailedError(f"{self.path}: {self._shape_fault(name, tuple(tensor.shape))}")
        for output in self.signature.outputs:
            shape = tuple(context.get_tensor_shape(output.name))
            tensors[output.name] = torch.empty(shape, dtype=getattr(torch, output.dtype), device=MEMORY)
        for name, tensor in tensors.items():
            context.set_tensor_address(name, tensor.data_ptr())
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise CheckFailedError(f"{self.path}: fails in TensorRT: {last_error(self._logger)}")
        self._stream.synchronize()
        return {output.name: tensors[output.name].cpu().numpy() for output in self.signature.outputs}

    def _check_platform(self, here: Platform) -> tuple[str, ...]:
        """Compare what the engine was built by and for with what is here; return what a report must say."""
        beside = manifest_path(self.path)
        built = recorded_platform(read_manifest(beside)) if beside.is_file() else None
        if built is None:
            return ()
        if (built.version, built.capability) != (here.version, here.capability):
            raise UnavailableError(
                f"{self.path}: was built by {built}, and here is {here}; an engine runs on no other version or "
                "generation: export it again on this machine"
            )
        if built.gpu == here.gpu:
            return ()
        return (f"built on {built.gpu} and run on {here.gpu}: built here, it may be faster",)

    def _read_signature(self) -> Signature:
        trt, engine = library(), self._engine
        inputs: list[TensorSpec] = []
        outputs: list[TensorSpec] = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
            shape = tuple(size if size >= 0 else "?" for size in engine.get_tensor_shape(name))
            side = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
            side.append(TensorSpec(name, dtype, shape))
        return Signature(tuple(inputs), tuple(outputs))

    def _shape_fault(self, name: str, shape: tuple[int, ...]) -> str:
        least, _, most = (tuple(sizes) for sizes in self._engine.get_tensor_profile_shape(name, 0))
        return f"takes {name} of {least} to {most}, not {shape}; --batch on export chooses the largest batch"
