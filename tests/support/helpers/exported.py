"""The network and the files that session fixtures provide."""

from dataclasses import dataclass
from pathlib import Path

from models.options import BuildOptions

NARROW = BuildOptions(num_classes=5, base_channels=8, feature_dim=32, input_size=(3, 16, 48, 48))


@dataclass(frozen=True)
class ExportedByCommand:
    """What `c3d-export --format onnx --format torchscript` left in ./artifacts, and what it printed."""

    folder: Path
    stdout: str
    stderr: str
    code: int

    @property
    def onnx(self) -> Path:
        """The ONNX file."""
        return self.folder / "artifacts" / "c3d.onnx"

    @property
    def torchscript(self) -> Path:
        """The TorchScript file."""
        return self.folder / "artifacts" / "c3d.pt"
