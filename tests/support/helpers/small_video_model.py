"""A narrow C3D as artifacts, and its outputs computed with none of the code that runs it: PyAV, OpenCV, NumPy, torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from exporter.requests import ExportRequest
from exporter.types import FormatName
from exporter.workflows.export import export
from helpers.colour_videos import read_frames
from models.builder import build
from models.built_model import BuiltModel
from models.options import BuildOptions

NARROW = BuildOptions(num_classes=5, base_channels=2, feature_dim=8, seed=3)
PROFILE = "jfzhang95"


@dataclass(frozen=True)
class SmallVideoModel:
    """The network, and the folder of its artifacts `c3d.onnx` and `c3d.pt`, without a known profile.

    `computed` keeps logits: several tests ask for those of the same clips.
    """

    built: BuiltModel
    onnx: Path
    torchscript: Path
    computed: dict[tuple[object, ...], NDArray[np.float64]] = field(default_factory=dict[Any, Any], repr=False)

    def logits(self, video: Path, starts: Sequence[int], step: int = 1) -> NDArray[np.float64]:
        """Return the logits in float64 of clips of 16 frames, `step` apart, that begin at `starts`."""
        about = video.stat()
        key = (str(video), about.st_mtime_ns, about.st_size, tuple(starts), step)
        if key not in self.computed:
            self.computed[key] = self._logits(video, starts, step)
        return self.computed[key].copy()

    def _logits(self, video: Path, starts: Sequence[int], step: int) -> NDArray[np.float64]:
        windows = [cv2.resize(frame, (171, 128))[8:120, 30:142] for frame in read_frames(video)]
        bgr = np.stack(windows)[..., ::-1].astype(np.float64) - np.array([90.0, 98.0, 102.0])
        clips = np.stack([bgr[start : start + 16 * step : step].transpose(3, 0, 1, 2) for start in starts])
        return self.run(clips)

    def run(self, clips: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logits in float64 of clips (N, 3, 16, 112, 112)."""
        with torch.inference_mode():
            return self.built.network.double()(torch.from_numpy(clips)).numpy()

    def probabilities(self, video: Path, starts: Sequence[int], step: int = 1) -> NDArray[np.float64]:
        """Return their softmax."""
        return softmax(self.logits(video, starts, step))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of each row."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def make_small_video_model(folder: Path, outputs: tuple[str, ...] = ("logits", "fc6")) -> SmallVideoModel:
    """Export the network."""
    formats: tuple[FormatName, ...] = ("onnx", "torchscript")
    export(ExportRequest(formats, NARROW, outputs, output_dir=folder, verify=False))
    return SmallVideoModel(build(NARROW), folder / "c3d.onnx", folder / "c3d.pt")
