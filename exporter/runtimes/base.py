"""What every engine answers."""

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from exporter.types import Placement, Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Runtime(Protocol):
    """A model file in an engine. Resources are taken on entry and given back on exit."""

    @property
    def title(self) -> str:
        """The engine, its version and device, for people."""
        ...

    @property
    def signature(self) -> Signature:
        """What the loaded model takes and answers."""
        ...

    @property
    def placement(self) -> Placement:
        """Where the engine put the model's nodes."""
        ...

    def __enter__(self) -> Self:
        """Load the model.

        Raises:
            UnavailableError: the device is not there.
            ArtifactError: the engine refuses the file.
        """
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, clips: "NDArray[np.float32]") -> "dict[str, NDArray[np.float32]]":
        """Return {output name: values} for a batch of clips (N, 3, 16, 112, 112), float32.

        Raises:
            CheckFailedError: the model fails on them, or answers something else than its signature says.
        """
        ...
