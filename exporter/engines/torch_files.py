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
    """A file that torch runs. Its formats define `load_file`, `release` and `stated_signature`."""

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


def failed_run(path: Path, feeds: Tensors, reason: str) -> CheckFailedError:
    """Return the error of a file that fails on a batch."""
    shapes = ", ".join(f"{name} {value.shape}" for name, value in feeds.items())
    return CheckFailedError(f"{path}: fails on {shapes}: {reason}")


def name_outputs(path: Path, returned: Any, names: Sequence[str], signature: Signature) -> dict[str, NDArray[Any]]:
    """Return what a file returned for a batch, by the names of its outputs.

    Args:
        path: the file, for the message.
        returned: a tensor, or several in a tuple or list.
        names: the names of its outputs, in order.
        signature: what it should return, for the message.

    Raises:
        CheckFailedError: it returned another number of values, or something else than tensors.
    """
    values = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    if len(values) != len(names) or not all(isinstance(value, torch.Tensor) for value in values):
        types = [str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__ for value in values]
        raise CheckFailedError(f"{path}: returns {', '.join(types)}; its signature is {signature}")
    return {name: to_array(value) for name, value in zip(names, values, strict=True)}
