"""A model's `config.pbtxt`: what the server must know of its inputs, outputs, batches and engine.

Given a signature and options, result the text of a `ModelConfig`. Sources: triton-inference-server/common,
protobuf/model_config.proto; the READMEs of its backends onnxruntime, openvino and pytorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from exporter.errors import UsageError
from exporter.triton.text_format import Enum, Message, Value, format_fields
from exporter.triton.types import DEFAULT_MAX_BATCH, InstanceKind, TritonBackend, TritonRequest
from exporter.types import UNKNOWN_RANK, frames_shape
from models.specs import Signature, TensorSpec

LABELS_FILE = "labels.txt"

DATA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        **{f"float{bits}": f"TYPE_FP{bits}" for bits in (16, 32, 64)},
        **{f"{sign}int{bits}": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
        "bfloat16": "TYPE_BF16",
        "bool": "TYPE_BOOL",
        "string": "TYPE_STRING",
    }
)
"""{dtype: Triton's name}."""

FRAME_AXES = ("height", "width", 3)
"""Axes of decoded frames whose size is free, after batch and time; see `models.specs.frames_input`."""

OPENVINO_LACKS = frozenset(("float64", "bfloat16", "string"))
"""Types of inputs and outputs that Triton's OpenVINO backend refuses."""

MAX_INT32, MAX_UINT64, MAX_VERSION = (1 << 31) - 1, (1 << 64) - 1, 10**18 - 1
"""The largest numbers of the fields of `ModelConfig`; Triton reads a version from the name of a folder, as int64."""

_PLATFORMS: Mapping[TritonBackend, str] = MappingProxyType(
    {"onnxruntime": "onnxruntime_onnx", "pytorch": "pytorch_libtorch"}
)
_KINDS: Mapping[InstanceKind, str] = MappingProxyType({"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"})
_THREADS: Mapping[TritonBackend, str] = MappingProxyType(
    {
        "onnxruntime": "intra_op_thread_count",
        "openvino": "INFERENCE_NUM_THREADS",
        "pytorch": "INTRA_OP_THREAD_COUNT",
    }
)
"""{backend: the parameter that limits an instance's threads}."""


@dataclass(frozen=True)
class ModelConfig:
    """What decides a model's configuration.

    Attributes:
        name: the model's, which is its folder's.
        backend: the engine.
        model_file: name of the model file in a version's folder, `model.onnx`.
        signature: inputs and outputs of the model file, with their batch axes.
        request: the options of the server.
        label_outputs: outputs whose values are those of the classes in `LABELS_FILE`.
        parameters: {key: text} that the server passes to clients and to the backend.
        bfloat16: whether OpenVINO is to compute in it.
    """

    name: str
    backend: TritonBackend
    model_file: str
    signature: Signature
    request: TritonRequest
    label_outputs: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    bfloat16: bool = False

    @property
    def max_batch_size(self) -> int:
        """The largest batch that the server makes of requests; 0: it makes none, and shapes have their batch axis.

        OpenVINO's backend pads every batch to the largest size, so it makes none unless that is asked for.
        """
        if not has_free_batch(self.signature) or (self.backend == "openvino" and self.request.max_batch is None):
            return 0
        return self.request.max_batch or DEFAULT_MAX_BATCH

    def to_text(self) -> str:
        """Return the configuration in Protocol Buffers' text format.

        Raises:
            UsageError: options that contradict the signature or the backend, or tensors that Triton does not take.
        """
        self._check()
        fields: list[tuple[str, Value]] = [("name", self.name), ("backend", self.backend)]
        if self.backend in _PLATFORMS:
            fields.append(("platform", _PLATFORMS[self.backend]))
        fields += [
            ("default_model_filename", self.model_file),
            ("max_batch_size", self.max_batch_size),
            *(("input", self._describe(spec)) for spec in self.signature.inputs),
            *(("output", self._describe(spec)) for spec in self.signature.outputs),
        ]
        if self.max_batch_size > 1:
            fields.append(("dynamic_batching", self._batching()))
        kind = "cpu" if self.backend == "openvino" else self.request.kind
        group = Message((("count", self.request.instances), ("kind", Enum(_KINDS[kind]))))
        fields += [("instance_group", group), *(("model_warmup", sample) for sample in self._warm_up())]
        fields += [("parameters", _parameter(key, text)) for key, text in self._all_parameters().items()]
        return format_fields(Message(tuple(fields)))

    @property
    def tensor_names(self) -> dict[str, str]:
        """{name of the model file's input or output: Triton's}: TorchScript has positions only."""
        sides = (self.signature.inputs, self.signature.outputs)
        if self.backend != "pytorch":
            return {spec.name: spec.name for side in sides for spec in side}
        return {spec.name: f"{spec.name}__{index}" for side in sides for index, spec in enumerate(side)}

    def _check(self) -> None:
        request, batch = self.request, self.signature.batch
        if self.backend == "openvino" and request.kind == "gpu":
            raise UsageError("--kind gpu: Triton's OpenVINO backend runs on the CPU")
        for option, value, least, largest in (
            ("--instances", request.instances, 1, MAX_INT32),
            ("--threads", request.threads, 1, MAX_INT32),
            ("--queue-delay", request.queue_delay_us, 0, MAX_UINT64),
            ("--max-batch", request.max_batch, 1, MAX_INT32),
            ("--preferred-batch", min(request.preferred_batches, default=1), 1, MAX_INT32),
            ("--version", request.version, 1, MAX_VERSION),
        ):
            if value is not None and value < least:
                raise UsageError(f"{option} {value}: must be at least {least}")
            if value is not None and value > largest:
                raise UsageError(f"{option} {value}: must be at most {largest}")
        batching = request.max_batch is not None or bool(request.preferred_batches)
        if batching and not has_free_batch(self.signature):
            size = "not dynamic" if batch is None else f"fixed at {batch}"
            raise UsageError(f"--max-batch and --preferred-batch need a dynamic batch; this model's is {size}")
        if request.preferred_batches and not self.max_batch_size:
            raise UsageError("--preferred-batch needs --max-batch with OpenVINO, which otherwise makes no batches")
        if max(request.preferred_batches, default=0) > max(self.max_batch_size, 1):
            raise UsageError(f"--preferred-batch: at most --max-batch, which is {self.max_batch_size}")

    def _describe(self, spec: TensorSpec) -> Message:
        if spec.dtype not in DATA_TYPES or UNKNOWN_RANK in spec.shape:
            raise UsageError(f"{spec}: Triton takes tensors of a known rank and of {', '.join(DATA_TYPES)}")
        if self.backend == "openvino" and spec.dtype in OPENVINO_LACKS:
            raise UsageError(f"{spec}: Triton's OpenVINO backend takes no tensors of {spec.dtype}")
        shape = spec.shape[1:] if self.max_batch_size else spec.shape
        dims = tuple(size if isinstance(size, int) else -1 for size in shape)
        fields: list[tuple[str, Value]] = [
            ("name", self.tensor_names[spec.name]),
            ("data_type", Enum(DATA_TYPES[spec.dtype])),
            ("dims", dims or (1,)),
        ]
        if not dims:  # one number for each row, or one in all
            fields.append(("reshape", Message((("shape", ()),))))
        if spec.name in self.label_outputs:
            fields.append(("label_filename", LABELS_FILE))
        return Message(tuple(fields))

    def _batching(self) -> Message:
        fields: list[tuple[str, Value]] = []
        if self.request.preferred_batches:
            fields.append(("preferred_batch_size", tuple(sorted(set(self.request.preferred_batches)))))
        return Message((*fields, ("max_queue_delay_microseconds", self.request.queue_delay_us)))

    def _warm_up(self) -> list[Message]:
        """Return a sample of zeros for each batch size that is likely: 1, and the preferred ones."""
        shapes = {spec.name: self._sample_shape(spec) for spec in self.signature.inputs}
        if not self.request.warm_up or any(shape is None for shape in shapes.values()):
            return []
        inputs = [
            ("inputs", Message((("key", self.tensor_names[spec.name]), ("value", _zeros(spec, shape)))))
            for spec in self.signature.inputs
            if (shape := shapes[spec.name]) is not None
        ]
        sizes = sorted({1, *self.request.preferred_batches})
        return [Message((("name", f"zeros, batch of {size}"), ("batch_size", size), *inputs)) for size in sizes]

    def _sample_shape(self, spec: TensorSpec) -> tuple[int, ...] | None:
        """Return the shape of a sample; None where the model has dynamic sizes that nothing states."""
        shape = frames_shape(spec, 1) if spec.shape[2:] == FRAME_AXES else spec.shape
        if has_free_batch(self.signature):
            shape = shape[1:] if self.max_batch_size else (1, *shape[1:])
        sizes = tuple(size for size in shape if isinstance(size, int))
        return sizes if len(sizes) == len(shape) else None

    def _all_parameters(self) -> dict[str, str]:
        own: dict[str, str] = {}
        if self.request.threads is not None:
            own[_THREADS[self.backend]] = str(self.request.threads)
        if self.backend == "openvino" and self.max_batch_size:
            own["ENABLE_BATCH_PADDING"] = "YES"
        if self.backend == "openvino" and self.bfloat16:
            own["HINT_BF16"] = "YES"
        return own | dict(self.parameters)


def has_free_batch(signature: Signature) -> bool:
    """Return whether the first axis of every input and output is a batch of a dynamic size."""
    return all(
        spec.shape and isinstance(spec.shape[0], str) and spec.shape[0] != UNKNOWN_RANK
        for spec in (*signature.inputs, *signature.outputs)
    )


def _parameter(key: str, text: str) -> Message:
    return Message((("key", key), ("value", Message((("string_value", text),)))))


def _zeros(spec: TensorSpec, shape: tuple[int, ...]) -> Message:
    return Message((("data_type", Enum(DATA_TYPES[spec.dtype])), ("dims", shape or (1,)), ("zero_data", True)))
