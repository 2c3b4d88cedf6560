"""What every format can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from exporter.artifacts.manifest import Manifest
from exporter.types import FormatName, OptimizeFor, OptimizeOptions, Target, WeightDtype
from models.progress import Progress, no_progress

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
    autotune: bool = False
    optimize_for: OptimizeFor = "size"
    weight_dtype: WeightDtype = "fp32"
    progress: Progress = no_progress

    @property
    def graph(self) -> OptimizeOptions:
        """How an ONNX graph is rewritten."""
        return OptimizeOptions(self.target, self.autotune, self.optimize_for, self.weight_dtype)


@dataclass(frozen=True)
class WriteResult:
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
    fallback: Callable[[], WriteResult] | None = field(default=None, repr=False)


class Format(Protocol):
    """An artifact format."""

    name: FormatName
    """What `--format` calls it."""
    suffix: str
    """Its model files' suffix, with the dot."""

    def write(self, module: nn.Module, request: WriteRequest, folder: Path) -> WriteResult:
        """Write `module` (a clip batch in, the outputs in the signature's order out) into `folder`, and check it."""
        ...

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest inside a model file without running it, or None if there is none.

        Raises:
            ArtifactError: the file is not of this format, or damaged.
        """
        ...
