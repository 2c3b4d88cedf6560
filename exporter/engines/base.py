"""What every engine's adapter implements, and the options it is opened with.

`bench` also opens adapters under an interpreter that has nothing but the engine's library and numpy: importing an
adapter, `load`, `run` and `description` must not need anything else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from exporter.errors import IntegrityError
from exporter.file_state import FileState, require_unchanged
from exporter.isolation.worker import is_supervised, native_call
from exporter.load_checks import RECORDED_ONLY, Vouched
from exporter.memory_errors import translate_memory_errors
from exporter.results import Placement, Precision
from exporter.types import ComputePrecision, Device
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensors = Mapping[str, "NDArray[Any]"]
"""{name: array}, inputs or outputs."""


WEIGHT_PRECISIONS: Mapping[ComputePrecision, Precision] = MappingProxyType(
    {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}
)
"""What a file that does not say what it computes in has weights of, by what its manifest says."""


@dataclass(frozen=True)
class RuntimeOptions:
    """How to open a model.

    Attributes:
        device: where it runs.
        signature: the expected inputs and outputs, for engines whose files do not name them; None to use the file's.
        optimize_for_inference: load a TorchScript archive through `torch.jit.optimize_for_inference`.
        threads: number of threads of the engine; None leaves the engine's default.
        all_outputs: return every intermediate value too, in the order computed. Fusions then do not happen.
        extra_outputs: intermediate values that are returned besides the outputs.
        precision: what the model is to compute in, for engines where that is an option of loading and not of the file.
        rest_between_runs: let the engine's threads sleep after each batch. In onnxruntime they otherwise wait for the
            next one in a loop that takes a core's time, for some 30 ms.
        input_shapes: {input name: shape} to compile for, in engines that are faster on fixed shapes; other shapes are
            compiled when they first occur. None compiles for any shape.
        vouched: of files that are code, which may run besides those that this tool wrote here.
        states: the model's files as they were when they were hashed; what was loaded from others is refused.
    """

    device: Device = "cpu"
    signature: Signature | None = None
    optimize_for_inference: bool = False
    threads: int | None = None
    all_outputs: bool = False
    extra_outputs: tuple[str, ...] = ()
    precision: ComputePrecision = "fp32"
    rest_between_runs: bool = False
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    vouched: Vouched = RECORDED_ONLY
    states: tuple[FileState, ...] = ()


class Runtime(ABC):
    """A model in an engine. Resources are acquired on entry and released on exit.

    Adapters define `load_model` and `run_batch`. `load` and `run` call them and say that the engine is at work on the
    file, so that a crash or a hang names both.
    """

    library = "the engine"
    """The engine's name in messages: `onnxruntime`."""
    reads_file = True
    """Whether it runs a model file, and not what was built in this process."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        self.path, self.options = path, options

    @property
    @abstractmethod
    def description(self) -> str:
        """The engine, its version and device: `onnxruntime 1.32.0 (cpu)`."""

    @property
    @abstractmethod
    def signature(self) -> Signature:
        """The loaded model's inputs and outputs."""

    @property
    @abstractmethod
    def precision(self) -> Precision:
        """The lowest precision of the model's weights."""

    @property
    @abstractmethod
    def placement(self) -> Placement:
        """The device that each of the model's nodes runs on."""

    @property
    def random_node(self) -> str | None:
        """A node that draws random numbers and that an output depends on, as `name (operator)`; None without one."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report must say about how the model was run, known after `run`."""
        return ()

    @property
    def max_seconds(self) -> float | None:
        """What loading and one batch may take each; None for the default, which grows with the file."""
        return None

    def authorize(self) -> None:  # noqa: B027 - nothing to do for data
        """Refuse a file that is code and may not run here (`exporter.engines.code_file`); other files are data."""

    def load(self) -> None:
        """Load the model.

        Raises:
            UnavailableError: the device or the library is missing.
            ArtifactError: the engine rejects the file.
            IntegrityError: its files changed between their hashes and now.
            OutOfMemoryError: memory ran out.
        """
        with self._at_work("loads it"):
            self.load_model()
        try:
            require_unchanged(self.options.states)
        except IntegrityError:
            self.close()
            raise

    @abstractmethod
    def load_model(self) -> None:
        """Load the model; raises as `load` does."""

    @abstractmethod
    def close(self) -> None:
        """Release the model."""

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Return {output name: values}, in host memory, for {input name: batch}, in the signature's order.

        A sequence is a list of arrays, both as an input and as an output; an optional output without a value is None.

        Raises:
            CheckFailedError: the model fails on the batch, or returns something else than its signature says.
            OutOfMemoryError: memory ran out.
        """
        with self._at_work("runs it", feeds):
            return self.run_batch(feeds)

    @abstractmethod
    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; see `run`."""

    def __enter__(self) -> Self:
        """Load the model; raises as `load` does."""
        self.load()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the model."""
        self.close()

    @contextmanager
    def _at_work(self, doing: str, feeds: Tensors | None = None) -> Generator[None]:
        """Name the engine and the file where the block crashes, hangs or runs out of memory."""
        path = self.path if self.reads_file else None
        with translate_memory_errors(path, lambda: f"{self.library} {doing}"):
            if path is None or not is_supervised():  # bench times this
                yield
                return
            size = sum(map(_size, feeds.values())) if feeds else 0
            with native_call(self.library, path, self.max_seconds, input_bytes=size):
                yield


def _size(value: Any) -> int:
    """Return the bytes of an array, or of a list of them."""
    return sum(map(_size, value)) if isinstance(value, list) else getattr(value, "nbytes", 0)


class OnnxFileRuntime(Runtime):
    """An ONNX file in an engine. onnx is imported only by the properties, which `bench` does not use."""

    @cached_property
    def file_signature(self) -> Signature:
        """The inputs and outputs that the file states; it is read once."""
        from exporter.onnx_io.signature import read_signature

        return read_signature(self.path)

    @property
    def precision(self) -> Precision:
        """Return the precision of the file's weights."""
        from exporter.onnx_io.precision import detect_precision

        return detect_precision(self.path)

    @property
    def random_node(self) -> str | None:
        """Return the file's node that draws random numbers; None without one."""
        from exporter.onnx_io.random_nodes import find_random_node

        return find_random_node(self.path)
