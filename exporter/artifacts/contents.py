"""What a model file states of itself, whatever its format: its inputs and outputs, and the files with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.types import FormatName
from models.specs import Signature

if TYPE_CHECKING:
    from exporter.artifacts.loading import LoadedArtifact


def stated_signature(artifact: LoadedArtifact) -> Signature | None:
    """Return what a model takes and returns as its manifest states it, or its graph; None where neither does.

    Raises:
        ArtifactError: the file cannot be read.
    """
    if artifact.manifest is not None:
        return artifact.manifest.signature
    if artifact.format == "onnx":
        from exporter.onnx_io.signature import read_signature

        return read_signature(artifact.path)
    if artifact.format == "openvino":
        from exporter.openvino_ir import read_ir

        return read_ir(artifact.path).signature
    return None


def data_files(path: Path, artifact_format: FormatName) -> tuple[Path, ...]:
    """Return the files beside a model file that hold weights of it.

    Raises:
        ArtifactError: it cannot be read.
    """
    if artifact_format == "onnx":
        from exporter.onnx_io.external_data import external_files

        return external_files(path)
    if artifact_format == "openvino":
        from exporter.openvino_ir import WEIGHTS_SUFFIX

        return (path.with_suffix(WEIGHTS_SUFFIX),)
    return ()


def read_data_names(model: Path) -> list[str]:
    """Return the names of the data files of an ONNX model, whether they are there or not.

    Raises:
        ArtifactError: the model is missing, or no ONNX model.
        LimitError: its functions expand to too many nodes.
    """
    from exporter.onnx_io.external_data import external_locations
    from exporter.onnx_io.load import load_without_weights

    return external_locations(load_without_weights(model), model)
