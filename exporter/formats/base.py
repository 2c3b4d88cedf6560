"""What every format can do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from exporter.artifact import Manifest
from exporter.types import FormatName, GraphOptions, Prefer, Target, WeightsAs
from models.errors import Progress, quiet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WriteRequest:
    """What a format needs besides the network.

    Attributes:
        name: the artifact's name, without suffix.
        manifest: the essential manifest; its signature says names, outputs and batch.
        opset: ONNX opset.
        target: `cpu` also tries what is only faster on CPUs.
        external_data: keep weights in a file of their own.
        tune: choose between forms by measuring them here.
        prefer: a fast load or a small file, where they conflict.
        weights_as: how weights are stored.
        progress: told at each long step.
    """

    name: str
    manifest: Manifest
    opset: int
    target: Target
    external_data: bool
    tune: bool = False
    prefer: Prefer = "size"
    weights_as: WeightsAs = "fp32"
    progress: Progress = quiet

    @property
    def graph(self) -> GraphOptions:
        """How an ONNX graph is rewritten."""
        return GraphOptions(self.target, self.tune, self.prefer, self.weights_as)


@dataclass(frozen=True)
class Written:
    """What a format wrote.

    Attributes:
        files: in the folder given, the model first.
        manifest: the essential manifest as it stands inside the model file, with the format's options and versions.
        notes: what the user should know.
        instead: writes over these files what is next best, for where they do not hold parity; the module must be as it
            was. None where nothing is left to try.
    """

    files: tuple[Path, ...]
    manifest: Manifest
    notes: tuple[str, ...] = ()
    instead: "Callable[[], Written] | None" = field(default=None, repr=False)


class Format(Protocol):
    """An artifact format."""

    name: FormatName
    """What `--format` calls it."""
    suffix: str
    """Its model files' suffix, with the dot."""

    def write(self, module: "nn.Module", request: WriteRequest, folder: Path) -> Written:
        """Write `module` (a clip batch in, the outputs in the signature's order out) into `folder`, and check it."""
        ...

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest inside a model file without running it, or None if there is none.

        Raises:
            ArtifactError: the file is not of this format, or damaged.
        """
        ...
