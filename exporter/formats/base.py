"""The interface of an artifact format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import OptionValue
from exporter.calibration_clips import CalibrationClips
from exporter.stored_tensors import StoredModel
from exporter.system import library_version
from exporter.types import BatchProfile, ComputePrecision, FormatName, OptimizeOptions, PrecisionOptions, Target
from models.built_model import BuiltModel
from models.progress import Progress, no_progress


@dataclass(frozen=True)
class Attempt:
    """Where a candidate is written, and the names of the candidates that failed parity before it."""

    folder: Path
    rejected: tuple[str, ...] = ()

    def describe_rejected(self) -> str:
        """Return `parity failed with A and with B`."""
        return f"parity failed with {' and with '.join(self.rejected)}"


@dataclass(frozen=True)
class WriteRequest:
    """What a format needs besides the network.

    Attributes:
        name: the artifact's name, without suffix.
        manifest: the embedded part of the manifest; its signature states names, outputs and batch size.
        opset: ONNX opset.
        optimize: how the artifact is rewritten.
        precision: what the artifact computes in.
        clips: the clips for a precision that needs any; None otherwise.
        batch_profile: the batch sizes of an engine that is built for a range of them.
        external_data: keep ONNX weights in a file of their own.
        progress: called at each long step.
        finished: called with a line for each stage of a precision below float32 that is finished.
    """

    name: str
    manifest: Manifest
    opset: int
    optimize: OptimizeOptions = field(default_factory=OptimizeOptions)
    precision: PrecisionOptions = field(default_factory=PrecisionOptions)
    clips: CalibrationClips | None = None
    batch_profile: BatchProfile = field(default_factory=BatchProfile)
    external_data: bool = False
    progress: Progress = no_progress
    finished: Progress = no_progress

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs to write."""
        return tuple(output.name for output in self.manifest.signature.outputs)

    def finish_manifest(
        self, options: Mapping[str, OptionValue], attempt: Attempt, libraries: Iterable[str]
    ) -> Manifest:
        """Return the manifest with what is known once a file is made.

        Args:
            options: how the file was made, beside what the request's manifest says.
            attempt: which candidates failed parity before this one.
            libraries: distributions whose versions decide what is in the file.
        """
        failed = {FAILED_OPTION: ", ".join(attempt.rejected)} if attempt.rejected else {}
        return replace(
            self.manifest,
            options={**self.manifest.options, **options, **failed},
            versions={name: library_version(name) for name in libraries},
        )


@dataclass(frozen=True)
class WriteResult:
    """What a format wrote.

    Attributes:
        files: the files that were written, the model first.
        manifest: the embedded part as it is inside the model file, with the format's options and versions.
        notes: what the user should know.
    """

    files: tuple[Path, ...]
    manifest: Manifest
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """One way to write an artifact.

    Attributes:
        name: what messages and manifests call it: `winograd`, `Winograd tiles up to 4`.
        write: writes it into the folder of an attempt, over the files of the candidates that failed there.
    """

    name: str
    write: Callable[[Attempt], WriteResult]


FAILED_OPTION = "failed_parity"
"""The manifest's option that names the candidates that failed parity; absent where the first passed."""


class Format(ABC):
    """An artifact format."""

    name: FormatName
    """What `--format` calls it."""
    suffix: str
    """Its model files' suffix, with the dot."""
    precisions: Mapping[ComputePrecision, str]
    """{what it can compute in: empty; what it cannot, and a user may ask for: why, and what to take instead}."""
    rewriting_targets: Mapping[ComputePrecision, frozenset[Target]] = MappingProxyType({})
    """{what it computes in: the targets whose file is not the portable one}; none where it is missing."""
    embeds_manifest: bool = True
    """Whether a model file has room for the manifest; otherwise it is beside the file only."""
    temporary_copies: int = 0
    """How many times the size of the weights an export writes to the folder of temporary files at once, at least."""
    hides_weights: str = ""
    """Why its weights cannot be listed; empty where they can."""

    def require_available(self, precision: ComputePrecision) -> None:  # noqa: B027 - most formats need nothing more
        """Refuse to write the format where a library, a compiler or a device is missing, before any long computation.

        Args:
            precision: what the artifact is to compute in; some need a library more.

        Raises:
            UnavailableError: the message says what is missing and how to get it.
        """

    @abstractmethod
    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield ways to write `model`, best first. The export takes the first whose file passes parity."""

    @abstractmethod
    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest inside a model file without running it, or None if there is none.

        Raises:
            ArtifactError: the file is not of this format, or damaged.
        """

    @abstractmethod
    def read_stored(self, path: Path) -> StoredModel:
        """Return the manifest inside a model file and where its weights lie, without any library of the format.

        Raises:
            ArtifactError: the file is not of this format, or damaged.
        """
