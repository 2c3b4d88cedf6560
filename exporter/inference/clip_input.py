"""What a model takes, read from its signature and manifest: clips of a fixed size, or frames of any size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact, stated_signature
from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError
from exporter.types import UNKNOWN_RANK
from models.preprocessing.recipe import COLOURS
from models.specs import Signature, TensorSpec

CLIP_RANK = 5
"""(batch, channel, time, height, width), or of frames (batch, time, height, width, channel)."""


@dataclass(frozen=True)
class ClipInput:
    """A model's input.

    Attributes:
        spec: its name, dtype and shape.
        size: (time, height, width) of the network's clip.
        batch: the fixed batch size, or None where it is dynamic.
        takes_frames: whether it takes uint8 frames of any size, (batch, time, height, width, 3): preprocessing is
            inside.
        singleton: whether an axis of length 1 follows the batch axis, as MMAction2 exports its recognizers: the clips
            of a video.
    """

    spec: TensorSpec
    size: tuple[int, int, int]
    batch: int | None
    takes_frames: bool = False
    singleton: bool = False


def clip_signature(artifact: LoadedArtifact) -> Signature:
    """Return what a model states that it takes and returns, without loading it.

    Raises:
        ArtifactError: a TorchScript archive without a manifest states nothing.
    """
    if (stated := stated_signature(artifact)) is not None:
        return stated
    raise ArtifactError(
        f"{artifact.path}: has no manifest, and a {artifact.format} file without one does not state the size of its "
        "clips; export it with this tool, or as ONNX with fixed sizes"
    )


def read_clip_input(path: Path, signature: Signature, manifest: Manifest | None) -> ClipInput:
    """Return what a model takes.

    Args:
        path: the model file, for messages.
        signature: its inputs and outputs.
        manifest: None for another tool's file.

    Raises:
        ArtifactError: it does not take clips of three colours and of a known size; the message names what is missing.
    """
    if len(signature.inputs) != 1:
        named = ", ".join(value.name for value in signature.inputs)
        raise ArtifactError(
            f"{path}: takes {len(signature.inputs)} inputs ({named}); a video network with one input is needed"
        )
    (spec,) = signature.inputs
    if spec.shape and spec.shape[-1] == UNKNOWN_RANK:
        raise ArtifactError(f"{path}: does not state the shape of its input {spec.name}: export it with fixed sizes")
    batch = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else None
    if manifest is not None and manifest.with_preprocess:
        assert manifest.clip_size is not None  # reading a manifest checks it
        time, height, width = manifest.clip_size
        return ClipInput(spec, (time, height, width), batch, takes_frames=True)
    singleton = len(spec.shape) == CLIP_RANK + 1 and (isinstance(spec.shape[1], str) or spec.shape[1] == 1)
    shape = spec.shape[2:] if singleton else spec.shape[1:]
    if len(shape) != CLIP_RANK - 1 or "float" not in spec.dtype:
        raise ArtifactError(f"{path}: takes {spec}, not clips (batch, 3, time, height, width) of floats")
    channels, *sizes = shape
    if isinstance(channels, int) and channels != COLOURS:
        raise ArtifactError(f"{path}: takes {spec}: {channels} channels, where a video has {COLOURS} colours")
    named = zip(("channels", "time", "height", "width"), shape, strict=True)
    if free := [name for name, size in named if not isinstance(size, int)]:
        lead = "1x1x3x" if singleton else "1x3x"
        raise ArtifactError(
            f"{path}: takes {spec}, which leaves {', '.join(free)} open; fix them with the network's own numbers: "
            f"c3d-export optimize {path.name} --shape {spec.name}={lead}TxHxW"
        )
    time, height, width = (int(size) for size in sizes)
    return ClipInput(spec, (time, height, width), batch, singleton=singleton)
