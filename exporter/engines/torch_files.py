"""What the engines of files that torch runs have in common: TorchScript, programs of `torch.export`, AOTInductor."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import torch
from numpy.typing import NDArray

from exporter.engines.base import RuntimeOptions, Tensors
from exporter.engines.code_file import CodeRuntime
from exporter.engines.torch_settings import apply_settings, require_device
from exporter.errors import ArtifactError, C3DExportError, CheckFailedError
from exporter.foreign_logging import suppress_foreign_logging
from exporter.results import Precision
from exporter.types import UNKNOWN_RANK
from models.errors import first_line
from models.specs import Signature

PRECISION_ORDER: tuple[tuple[set[str], Precision], ...] = (
    ({"int8", "uint8", "qint8", "quint8"}, "int8"),
    ({"bfloat16"}, "bfloat16"),
    ({"float16"}, "float16"),
    ({"float32"}, "float32"),
    ({"float64"}, "float64"),
)

RUN_ERRORS = (RuntimeError, torch.jit.Error, AssertionError, ValueError, TypeError)
"""What torch raises where a file fails on a batch: guards on shapes are assertions, `torch.jit.Error` is raised by the
file itself."""

RANDOM_OPERATORS: dict[str, int | None] = {
    **dict.fromkeys(("aten::dropout", "aten::dropout_", "aten::native_dropout", "aten::feature_dropout"), 2),
    **dict.fromkeys(("aten::alpha_dropout", "aten::feature_alpha_dropout"), 2),
    **dict.fromkeys(("aten::rrelu", "aten::rrelu_"), 3),
    **dict.fromkeys(("aten::rand", "aten::rand_like", "aten::randn", "aten::randn_like", "aten::randint")),
    **dict.fromkeys(("aten::randint_like", "aten::randperm", "aten::normal", "aten::normal_", "aten::uniform_")),
    **dict.fromkeys(("aten::bernoulli", "aten::bernoulli_", "aten::multinomial", "aten::exponential_")),
}
"""{operator that draws random numbers: the argument that must be true for it, None where there is none}."""

UNKNOWN_SHAPE: tuple[str, str] = ("batch", UNKNOWN_RANK)
"""The shape of a value of which an archive says nothing but that it is a tensor."""


class TorchFileRuntime(CodeRuntime):
    """A file that torch runs. Its formats define `load_file`, `release`, `stated_signature` and `call`."""

    library = "torch"
    title: ClassVar[str]
    """What a file of the format is called: `TorchScript`."""
    load_errors: ClassVar[tuple[type[Exception], ...]]
    """What torch raises for a file that it rejects."""
    _output_names: tuple[str, ...] = ()

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        super().__init__(path, options)
        self._settings = contextlib.ExitStack()

    @property
    def description(self) -> str:
        """Return `TorchScript in torch 2.13.0 (cpu)`."""
        return f"{self.title} in torch {torch.__version__} ({self.options.device})"

    def load_model(self) -> None:
        """Load the file under torch's settings; raises as `Runtime.load` says."""
        require_device(self.options.device)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._settings.enter_context(apply_settings(self.options))
            try:
                with suppress_foreign_logging(), self.open_code() as stream:
                    self.load_file(stream)
            except C3DExportError:
                raise
            except (OSError, *self.load_errors) as error:
                if isinstance(error, OSError) and error.strerror:
                    raise ArtifactError(f"cannot read {self.path}: {error.strerror}") from error
                raise ArtifactError(f"{self.path}: torch rejects it: {first_line(error)}") from error
            self._output_names = tuple(output.name for output in self.signature.outputs)
            on_failure.pop_all()

    @abstractmethod
    def load_file(self, stream: BinaryIO) -> None:
        """Load the open file; what it raises of `load_errors` is reported as a rejected file."""

    def close(self) -> None:
        """Release what was loaded, and restore torch's settings."""
        self.release()
        self._settings.close()

    @abstractmethod
    def release(self) -> None:
        """Release what was loaded."""

    @property
    def signature(self) -> Signature:
        """Return the one that the file should have; without one what the file states."""
        return self.options.signature or self.stated_signature()

    @abstractmethod
    def stated_signature(self) -> Signature:
        """Return what the loaded file states of its inputs and outputs."""

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch."""
        inputs = [self.to_input(to_tensor(value)) for value in feeds.values()]
        with torch.inference_mode():
            try:
                returned = self.call(inputs)
            except RUN_ERRORS as error:
                shapes = ", ".join(f"{name} {value.shape}" for name, value in feeds.items())
                raise CheckFailedError(f"{self.path}: fails on {shapes}: {self.find_reason(error)}") from error
        if isinstance(returned, dict):
            names, values = tuple(returned), tuple(returned.values())
        else:
            names, values = self._output_names, tuple(returned) if isinstance(returned, tuple | list) else (returned,)
        if len(values) != len(names) or not all(isinstance(value, torch.Tensor) for value in values):
            types = [str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__ for value in values]
            raise CheckFailedError(f"{self.path}: returns {', '.join(types)}; its signature is {self.signature}")
        return {name: to_array(value) for name, value in zip(names, values, strict=True)}

    def to_input(self, value: torch.Tensor) -> torch.Tensor:
        """Return an input as the file takes it."""
        return value.to(self.options.device)

    @abstractmethod
    def call(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Run what was loaded; return its outputs in order, or {name: output}."""

    def find_reason(self, error: Exception) -> str:
        """Return the line of an error of `call` that says why."""
        return first_line(error)


def lowest_precision(dtypes: Iterable[torch.dtype]) -> Precision:
    """Return the lowest precision among the dtypes of weights; float32 where there are none."""
    held = {str(dtype).removeprefix("torch.") for dtype in dtypes}
    for names, name in PRECISION_ORDER:
        if held & names:
            return name
    return "float32"


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor of the same memory, or of a copy where it is read-only, which torch does not know."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def to_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as numpy has it, which knows no bfloat16."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
