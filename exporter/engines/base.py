"""The interface of every engine, and the options it is opened with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from exporter.results import Placement, Precision
from exporter.types import Device
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensors = Mapping[str, "NDArray[Any]"]
"""{name: array}, inputs or outputs."""


@dataclass(frozen=True)
class RuntimeOptions:
    """How to open a model.

    Attributes:
        device: where it runs.
        signature: its inputs and outputs, for engines whose files do not state them; None to take the file's.
        optimize_for_inference: pass a TorchScript module through `torch.jit.optimize_for_inference`.
        threads: how many threads the engine uses; None for its default.
        all_outputs: return every intermediate value too, in the order computed; this disables operator fusion.
    """

    device: Device = "cpu"
    signature: Signature | None = None
    optimize_for_inference: bool = False
    threads: int | None = None
    all_outputs: bool = False


class Runtime(Protocol):
    """A model in an engine. Resources are taken on entry and given back on exit."""

    @property
    def description(self) -> str:
        """The engine, its version and device, for people."""
        ...

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of the loaded model."""
        ...

    @property
    def precision(self) -> Precision:
        """The coarsest number format of the model's weights."""
        ...

    @property
    def placement(self) -> Placement:
        """Where the engine put the model's nodes."""
        ...

    def __enter__(self) -> Self:
        """Load the model.

        Raises:
            UnavailableError: the device or the engine is not there.
            ArtifactError: the engine refuses the file.
        """
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Return {output name: values} for {input name: batch}.

        Raises:
            CheckFailedError: the model fails on them, or returns something else than its signature says.
        """
        ...
