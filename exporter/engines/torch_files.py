"""What the engines of files that torch runs have in common: TorchScript, programs of `torch.export`, AOTInductor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from exporter.engines.base import Tensors
from exporter.errors import CheckFailedError
from exporter.results import Precision
from exporter.types import UNKNOWN_RANK
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def coarsest(dtypes: Iterable[torch.dtype]) -> Precision:
    """Return the coarsest precision among the dtypes of weights; float32 where there are none."""
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
