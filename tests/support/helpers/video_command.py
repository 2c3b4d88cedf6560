"""`c3d-export predict` and `features` with the small model, in this process and in an empty folder."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.run import Done, call
from helpers.small_video_model import PROFILE, SmallVideoModel

KNOWN = ("--preprocess", PROFILE, "--step", "8")
"""What the artifact does not state."""


@dataclass(frozen=True)
class VideoCommand:
    """How a command is run.

    Attributes:
        model: the artifact that it runs.
        videos: two short videos for it.
        folder: where it runs.
        capture: takes what it prints.
    """

    model: SmallVideoModel
    videos: tuple[Path, Path]
    folder: Path
    capture: pytest.CaptureFixture[str]

    def predict(self, *arguments: object, known: tuple[str, ...] = KNOWN) -> Done:
        """Run `predict` on the artifact."""
        return self.run("predict", self.model.onnx, *arguments, *known)

    def features(self, *arguments: object, known: tuple[str, ...] = KNOWN) -> Done:
        """Run `features` on the artifact."""
        return self.run("features", self.model.onnx, *arguments, *known)

    def run(self, *arguments: object) -> Done:
        """Run `c3d-export` with these arguments."""
        return call("c3d-export", *arguments, cwd=self.folder, capture=self.capture)
