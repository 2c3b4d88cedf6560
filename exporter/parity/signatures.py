"""The signature of a model file, completed by that of the files it is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from exporter.artifacts.loading import LoadedArtifact, stated_signature
from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.errors import ArtifactError
from exporter.parity.io_mapping import map_by_name
from exporter.types import UNKNOWN_RANK
from models.specs import Signature


def read_model_signature(artifact: LoadedArtifact) -> Signature:
    """Return what a model file takes and returns: as its manifest or its graph states it, else as its engine finds it.

    Raises:
        ArtifactError: it cannot be read.
    """
    if (stated := stated_signature(artifact)) is not None:
        return stated
    with find_engine(artifact.format).open(artifact.path, RuntimeOptions(vouched=artifact.vouched)) as runtime:
        return runtime.signature


def read_full_signature(artifact: LoadedArtifact, others: Iterable[LoadedArtifact]) -> Signature:
    """Return the signature of a model file, with the shapes and dtypes that it does not state from others beside it.

    A TorchScript archive states neither; an ONNX file of the same function does.

    Raises:
        ArtifactError: a file cannot be read.
    """
    signature = read_model_signature(artifact)
    for other in others:
        if not any(UNKNOWN_RANK in value.shape for value in signature.inputs):
            break
        try:
            paired = map_by_name(other.path, read_model_signature(other), signature).inputs
        except ArtifactError:  # reported when it is run
            continue
        inputs = tuple(
            replace(paired[value.name], name=value.name) if UNKNOWN_RANK in value.shape else value
            for value in signature.inputs
        )
        signature = replace(signature, inputs=inputs)
    return signature
