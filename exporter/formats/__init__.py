"""One module per artifact format. A new format is one module and one line of `FORMATS`."""

from pathlib import Path

from exporter.errors import ArtifactError
from exporter.formats.base import Format, WriteRequest, WriteResult
from exporter.formats.onnx import OnnxFormat
from exporter.formats.torchscript import TorchScriptFormat
from exporter.types import FormatName

__all__ = ["FORMATS", "Format", "WriteRequest", "WriteResult", "find_format"]

FORMATS: dict[FormatName, Format] = {
    "onnx": OnnxFormat(),
    "torchscript": TorchScriptFormat(),
}


def find_format(path: Path) -> Format:
    """Return the format of a model file, by its suffix.

    Raises:
        ArtifactError: none has that suffix.
    """
    for candidate in FORMATS.values():
        if path.suffix == candidate.suffix:
            return candidate
    known = ", ".join(candidate.suffix for candidate in FORMATS.values())
    raise ArtifactError(f"{path}: not an artifact by its name; artifacts end in {known}")
