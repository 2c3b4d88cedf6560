"""Enumerations and plain objects of the stand-in for `tensorrt`; see `helpers.fake_tensorrt`."""

import enum
from typing import Any

import numpy as np
import onnx

STREAM = 7
"""The handle of the only stream."""


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 0


class BuilderFlag(enum.Enum):
    TF32 = enum.auto()


class TensorIOMode(enum.Enum):
    NONE = enum.auto()
    INPUT = enum.auto()
    OUTPUT = enum.auto()


class DataType(enum.Enum):
    FLOAT = "float32"
    HALF = "float16"
    INT8 = "int8"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    UINT8 = "uint8"


def nptype(trt_type: DataType) -> type:
    return np.dtype(trt_type.value).type


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        pass

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IHostMemory(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self.content)


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:  # noqa: A002
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise ValueError(f"inconsistent shapes for {input}")
        self.shapes[input] = [min, opt, max]


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.flags, self.model = flags, b""


class ParserError:
    def __init__(self, node: onnx.NodeProto) -> None:
        self._node = node

    def desc(self) -> str:
        return f"In node (parseNode):\nUNSUPPORTED_NODE: no importer registered for op: {self._node.op_type}"

    def node_name(self) -> str:
        return self._node.name

    def node_operator(self) -> str:
        return self._node.op_type


def stated_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim)


def round_to_tf32(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return float32 numbers with 10 bits of mantissa instead of 23."""
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) if values.dtype == np.float32 else values


class Stream:
    cuda_stream = STREAM

    def synchronize(self) -> None:
        pass
