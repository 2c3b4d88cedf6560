"""A stand-in for NVIDIA's `tensorrt` 11, for machines without a GPU: `install` makes it what `import tensorrt` finds.

It has the names, parameters and refusals of the real package, as far as this project uses them; test_tensorrt_library.py
compares it with the interface of NVIDIA's own wheels. An engine is the ONNX file behind a header, and runs in onnxruntime on
the CPU. Inputs and outputs go through their addresses, as on a GPU. With TF32, float32 inputs lose bits, as there.
"""

import ctypes
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from exporter.engines import cuda_device
from helpers.fake_tensorrt_types import (
    STREAM,
    BuilderFlag,
    DataType,
    IHostMemory,
    ILogger,
    INetworkDefinition,
    IOptimizationProfile,
    ITimingCache,
    NetworkDefinitionCreationFlag,
    ParserError,
    Stream,
    TensorIOMode,
    nptype,
    round_to_tf32,
    stated_shape,
)

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "ITimingCache",
    "Machine",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "Runtime",
    "TensorIOMode",
    "install",
    "nptype",
]

__version__ = "11.4.0.106"

MAGIC = b"ftrt"


@dataclass
class Machine:
    """The machine that the stand-in pretends to be on.

    Attributes:
        gpu: the GPU's name; empty without one.
        capability: its compute capability.
        driver: whether there is a CUDA driver.
        unsupported: operators that the parser does not know.
        builds: how often an engine was built, with and without known times.
        refuses_caches: whether no timing cache can be set, as with `DISABLE_TIMING_CACHE`.
    """

    gpu: str = "NVIDIA H100 80GB HBM3"
    capability: str = "9.0"
    driver: bool = True
    unsupported: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    refuses_caches: bool = False

    @property
    def header(self) -> bytes:
        """What begins a timing cache of this machine."""
        return json.dumps([__version__, self.gpu]).encode()


MACHINE = Machine()


def _require_driver(logger: ILogger) -> None:
    if not MACHINE.driver:
        logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")


class IBuilderConfig:
    def __init__(self) -> None:
        self.on = {BuilderFlag.TF32}
        self.profiles: list[IOptimizationProfile] = []
        self.cache: ITimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.on.discard(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        content = serialized_timing_cache or MACHINE.header
        return ITimingCache(content) if content.startswith(b"[") else None

    def set_timing_cache(self, cache: ITimingCache | None, ignore_mismatch: bool) -> bool:
        if cache is None:
            raise TypeError("set_timing_cache(): incompatible function arguments.")
        if MACHINE.refuses_caches:
            return False
        if not cache.content.startswith(MACHINE.header) and not ignore_mismatch:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self.cache


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._errors = network, list[ParserError]()

    def parse_from_file(self, model: str) -> bool:
        parsed = onnx.load(model)
        onnx.checker.check_model(parsed)
        self._errors = [ParserError(node) for node in parsed.graph.node if node.op_type in MACHINE.unsupported]
        self._network.model = parsed.SerializeToString()
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class Builder:
    def __init__(self, logger: ILogger) -> None:
        _require_driver(logger)
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        (profile,) = config.profiles or (IOptimizationProfile(),)
        dynamic = [
            value.name for value in onnx.load_from_string(network.model).graph.input if -1 in stated_shape(value)
        ]
        if missing := set(dynamic) - set(profile.shapes):
            self._logger.log(ILogger.Severity.ERROR, f"Network has dynamic inputs {missing}, but no profile")
            return None
        cache = config.cache or ITimingCache(b"")
        known = cache.content.endswith(b"measured")
        MACHINE.builds = (*MACHINE.builds, "known" if known else "measured")
        cache.content = cache.content if known else cache.content + b"measured"
        facts = {
            "version": __version__,
            "capability": MACHINE.capability,
            "profile": profile.shapes,
            "tf32": BuilderFlag.TF32 in config.on,
            "typed": bool(network.flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED),
        }
        return IHostMemory(MAGIC + json.dumps(facts).encode() + b"\n" + network.model)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        _require_driver(logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        header, _, model = serialized_engine.partition(b"\n")
        if not header.startswith(MAGIC):
            self._logger.log(ILogger.Severity.ERROR, "Serialization assertion plan->header.magicTag failed.")
            return None
        facts = json.loads(header.removeprefix(MAGIC))
        if [facts["version"], facts["capability"]] != [__version__, MACHINE.capability]:
            self._logger.log(
                ILogger.Severity.ERROR, "The engine plan file is not compatible with this version or device"
            )
            return None
        return ICudaEngine(facts, model)


class ICudaEngine:
    def __init__(self, facts: Mapping[str, Any], model: bytes) -> None:
        graph = onnx.load_from_string(model).graph
        self._facts, self._model, self._layers = facts, model, len(graph.node)
        self._tensors = {value.name: value for value in (*graph.input, *graph.output)}
        self._inputs = {value.name for value in graph.input}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def num_layers(self) -> int:
        return self._layers

    def get_tensor_name(self, index: int) -> str:
        return [*self._tensors][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        elements = self._tensors[name].type.tensor_type.elem_type
        return DataType(onnx.helper.tensor_dtype_to_np_dtype(elements).name)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return stated_shape(self._tensors[name])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._facts["profile"].get(name, [self.get_tensor_shape(name)] * 3)]

    def create_execution_context(self, strategy: object = None) -> "IExecutionContext":
        return IExecutionContext(self, self._facts["tf32"], self._model)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, tf32: bool, model: bytes) -> None:
        self._engine, self._tf32 = engine, tf32
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        self._shapes[name] = shape
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0]
        return tuple(batch if size < 0 else size for size in self._engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == STREAM
        feeds = {
            name: np.frombuffer(ctypes.string_at(self._addresses[name], self._nbytes(name)), self._dtype(name)).reshape(
                shape
            )
            for name, shape in self._shapes.items()
        }
        if self._tf32:
            feeds = {name: round_to_tf32(values) for name, values in feeds.items()}
        for output, values in zip(self._session.get_outputs(), self._session.run(None, feeds), strict=True):
            content = np.asarray(values)
            assert content.shape == self.get_tensor_shape(output.name)
            ctypes.memmove(self._addresses[output.name], content.tobytes(), content.nbytes)
        return True

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(self._engine.get_tensor_dtype(name).value)

    def _nbytes(self, name: str) -> int:
        return int(np.prod(self._shapes[name])) * self._dtype(name).itemsize


def install(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Have `import tensorrt` find the stand-in, and adapters a GPU, whose memory is the host's; return the machine."""
    machine = Machine()
    monkeypatch.setitem(sys.modules, "tensorrt", sys.modules[__name__])
    monkeypatch.setattr(sys.modules[__name__], "MACHINE", machine)
    monkeypatch.setattr(cuda_device, "MEMORY", "cpu")
    monkeypatch.setattr(cuda_device, "is_available", lambda: machine.gpu)
    monkeypatch.setattr(cuda_device, "get_name", lambda: machine.gpu)
    monkeypatch.setattr(cuda_device, "get_capability", lambda: machine.capability)
    monkeypatch.setattr(cuda_device, "new_stream", Stream)
    return machine
