"""An artifact is its model file(s) and a manifest beside them. docs/reference/manifest.md describes the format.

The manifest's essential part (all but what only exists once the file is written) is also inside the model file, so
that a model file without its manifest still states what it is.
`Manifest.from_json(manifest.to_json()) == manifest` always holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from exporter.artifacts.manifest_fields import (
    CLIP_SIZE,
    MANIFEST_VERSION,
    WITH_PREPROCESS,
    ManifestFields,
    NetworkRecord,
    OptionValue,
)
from exporter.artifacts.manifest_rules import find_fault
from exporter.artifacts.manifest_v1 import upgrade
from exporter.errors import ArtifactError
from models.built_model import BuiltModel
from models.pooling import format_size


@dataclass(frozen=True)
class Manifest(ManifestFields):
    """What an artifact is, how it was made, and what it returns.

    Attributes:
        version: version of the manifest format.
        producer: name and version of the tool.
        name: the artifact's name.
        format: the artifact's format.
        network: the network it was exported from.
        checkpoint: where the parameters came from; None where they came from the seed, or from the caller.
        preprocessing: what the weights expect of decoded frames; None for a network that takes no video.
        signature: inputs and outputs.
        options: the export options that decide the model file's bytes.
        versions: {library: version} of the libraries that decide those bytes.
        files: the artifact's files, the model first. Empty inside a model file.
        parity: the result of the check at export. Never inside a model file.
        class_names: a name for each class, in the order of the scores; None where they are not known, or where the
            artifact returns no class scores.
        tensors: {weight, as the model file names it: SHA-256 of its values, see `exporter.stored_tensors`};
            None where the format's weights cannot be listed, and in artifacts of releases that did not record it.
            Never inside a model file.
        signed: the signature of all other fields; None for an unsigned manifest. Never inside a model file.
    """

    @staticmethod
    def from_json(text: str | bytes, where: str = "manifest") -> Manifest:
        """Parse a manifest of this version, or of version 1.

        Raises:
            ArtifactError: not JSON, or fields missing or of the wrong type; the message names the field.
        """
        try:
            version = msgspec.json.decode(text, type=_Versioned).version
            if version not in (1, MANIFEST_VERSION):
                raise ArtifactError(
                    f"{where}: manifest version {version}; this release reads versions 1 and {MANIFEST_VERSION}"
                )
            if version == 1:
                manifest = msgspec.convert(upgrade(msgspec.json.decode(text)), type=Manifest)
            else:
                manifest = msgspec.json.decode(text, type=Manifest)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            raise ArtifactError(f"{where}: not a manifest of this tool: {error}") from error
        if fault := find_fault(manifest):
            raise ArtifactError(f"{where}: not a manifest of this tool: {fault}")
        return manifest


@dataclass(frozen=True)
class _Versioned:
    version: int


def describe_network(model: BuiltModel, state_sha256: str) -> NetworkRecord:
    """Return what a manifest records of a network."""
    return NetworkRecord(
        architecture=model.architecture,
        description=model.title,
        settings=dict(model.settings),
        setting_sources=dict(model.setting_sources),
        parameters=model.parameters,
        state_sha256=state_sha256,
        seed=model.seed,
    )


def preprocess_options(model: BuiltModel) -> dict[str, OptionValue]:
    """Return the options that state that a model has its preprocessing inside; none where it takes clips."""
    if model.without_preprocessing is None:
        return {}
    size = [int(size) for size in model.without_preprocessing.input.shape[2:]]
    return {WITH_PREPROCESS: True, CLIP_SIZE: format_size(size)}
