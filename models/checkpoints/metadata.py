"""The conventions that a file written by this project states: names and shapes do not show them.

`convert` puts them into a safetensors file's metadata; an exported ONNX model carries its manifest, which holds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from models.built_model import BuiltModel
from models.config import CLIP_SHAPE, MANIFEST_KEY, InputSize
from models.errors import CheckpointError
from models.pooling import Pool5, Variant
from models.preprocessing.recipe import Preprocessing

CONVENTIONS_KEY = "c3d_export.conventions"
"""The key in a safetensors file's metadata."""


@dataclass(frozen=True)
class Source:
    """The checkpoint that a converted file was made from: its name, SHA-256 and layout."""

    file: str
    sha256: str
    layout: str

    def __str__(self) -> str:
        return f"{self.file} ({self.layout}, SHA-256 {self.sha256})"


@dataclass(frozen=True)
class Conventions:
    """What a file states about its weights beyond their values.

    Attributes:
        pool5: the convention they are run under; None if the file does not state it.
        variant: the variant of the network; None if the file does not state it.
        input_size: (channel, time, height, width) of a clip; None if the file does not state it.
        preprocessing: the profile they expect; None if the file does not state it.
        source: the checkpoint they were converted from.
        class_names: a name for each class, in the order of fc8's outputs; None if the file does not state them.
    """

    pool5: Pool5 | None = None
    preprocessing: Preprocessing | None = None
    source: Source | None = None
    variant: Variant | None = None
    input_size: InputSize | None = None
    class_names: tuple[str, ...] | None = None

    def to_json(self) -> str:
        """Return the text that `read_conventions` reads back; class names that are not known are left out."""
        fields = msgspec.to_builtins(self, order="sorted")
        if self.class_names is None:
            fields.pop("class_names", None)  # what was decoded from JSON has no attribute for a default
        return msgspec.json.encode(fields).decode()


NONE_STATED = Conventions()


@dataclass(frozen=True)
class _Settings:
    """Settings of `models.config.C3DConfig`; a manifest leaves out what is as published."""

    pool5: Pool5
    variant: Variant = "c3d"
    channels: int = CLIP_SHAPE[0]
    frames: int = CLIP_SHAPE[1]
    height: int = CLIP_SHAPE[2]
    width: int = CLIP_SHAPE[3]

    @property
    def conventions(self) -> Conventions:
        size = self.channels, self.frames, self.height, self.width
        pool5 = self.pool5 if self.variant == "c3d" else None  # the others have one pool5
        return Conventions(pool5, variant=self.variant, input_size=size)


@dataclass(frozen=True)
class _Network:
    pool5: Pool5 | None = None  # manifests of version 1
    settings: _Settings | None = None


@dataclass(frozen=True)
class _Manifest:
    network: _Network
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None


def describe_conventions(model: BuiltModel) -> Conventions:
    """Return what a converted checkpoint states about its weights.

    A pool5 convention that was only assumed is left out, and so is the published size: the converted file states no
    more than the checkpoint did.
    """
    origin = model.checkpoint
    source = None if origin is None else Source(origin.file, origin.sha256, origin.layout)
    settings = msgspec.convert(dict(model.settings), _Settings).conventions
    pool5 = settings.pool5 if model.setting_sources.get("pool5") != "default" else None
    size = None if settings.input_size == CLIP_SHAPE else settings.input_size
    profile = None if model.preprocessing is None else model.preprocessing.without_path()
    return Conventions(pool5, profile, source, settings.variant, size, model.class_names)


def read_conventions(metadata: Mapping[str, str]) -> Conventions:
    """Return the conventions in a file's metadata; empty if this project did not write it.

    Raises:
        CheckpointError: the metadata is present but invalid.
    """
    try:
        stated = _decode(metadata)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise CheckpointError(f"its metadata of conventions is invalid: {error}") from error
    if stated.preprocessing is not None and (fault := stated.preprocessing.value_fault()):
        raise CheckpointError(f"its metadata of conventions is invalid: preprocessing: {fault}")
    return stated


def _decode(metadata: Mapping[str, str]) -> Conventions:
    if CONVENTIONS_KEY in metadata:
        return msgspec.json.decode(metadata[CONVENTIONS_KEY], type=Conventions)
    if MANIFEST_KEY in metadata:
        manifest = msgspec.json.decode(metadata[MANIFEST_KEY], type=_Manifest)
        settings = manifest.network.settings
        stated = settings.conventions if settings else Conventions(manifest.network.pool5)
        return replace(stated, preprocessing=manifest.preprocessing, class_names=manifest.class_names)
    return Conventions()
