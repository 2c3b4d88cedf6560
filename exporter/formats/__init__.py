"""One module per artifact format. A new format is one module and one line of `FORMATS`."""

from pathlib import Path

from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.loading import load_artifact as _load_artifact
from exporter.formats.base import Candidate, Format, WriteRequest, WriteResult
from exporter.formats.onnx import OnnxFormat
from exporter.formats.torchscript import TorchScriptFormat
from exporter.types import FormatName

__all__ = ["FORMATS", "Candidate", "Format", "WriteRequest", "WriteResult", "load_artifact"]

FORMATS: dict[FormatName, Format] = {
    "onnx": OnnxFormat(),
    "torchscript": TorchScriptFormat(),
}


def load_artifact(path: Path) -> LoadedArtifact:
    """Load a model file of any format and its manifest: see `exporter.artifacts.loading.load_artifact`."""
    return _load_artifact(path, tuple(FORMATS.values()))
