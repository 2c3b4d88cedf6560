"""Real clips: the one that ships with the package, and the user's videos."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exporter.errors import BadInputError, UnavailableError
from models.preprocessing import CLIP_LENGTH, Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIST = ".txt"
"""A file of this suffix lists videos, a path a line, relative to itself; empty lines and `#` comments are skipped."""


def packaged_frames() -> NDArray[np.uint8]:
    """Return 16 frames of a real video at 171x128: (16, 128, 171, 3), uint8, RGB. tests/data/README.md tells which."""
    with files("exporter.video").joinpath("packaged_clip.npz").open("rb") as stream, np.load(stream) as archive:
        return archive["frames"]


def resize(frames: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return frames (time, height, width, 3), uint8, at the size that `preprocessing` crops from: bilinear."""
    height, width = frames.shape[1:3]
    size = preprocessing.frame_size(width, height)
    if size == (width, height):
        return frames
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (time, 3, height, width)
    scaled = interpolate(planes, size=size[::-1], mode="bilinear", align_corners=False, antialias=True)
    return scaled.permute(0, 2, 3, 1).numpy()


def decode(path: Path, preprocessing: Preprocessing, frames: int = CLIP_LENGTH) -> NDArray[np.uint8]:
    """Return the first frames of a video at the size that `preprocessing` crops from: (frames, height, width, 3), RGB.

    Args:
        path: any file that FFmpeg reads.
        preprocessing: whose size is wanted.
        frames: how many, uint8; they are `preprocessing.frame_step` apart.

    Raises:
        UnavailableError: PyAV is not installed.
        BadInputError: not a video, or of fewer frames.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise UnavailableError("reading a video needs PyAV; pip install 'c3d-export[video]'") from error
    if not path.is_file():
        raise BadInputError(f"no such video: {path}")
    decoded: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number % preprocessing.frame_step:
                    continue
                width, height = preprocessing.frame_size(frame.width, frame.height)
                scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
                decoded.append(scaled.to_ndarray().astype(np.uint8, copy=False))
                if len(decoded) == frames:
                    break
    except (FFmpegError, IndexError, ValueError) as error:
        raise BadInputError(f"{path}: not a video that can be decoded: {error}") from error
    if len(decoded) < frames:
        raise BadInputError(f"{path}: {len(decoded)} frames, a clip takes {frames}")
    return np.stack(decoded)


def find_videos(path: Path) -> list[Path]:
    """Return the videos that a `--clip` names: a file itself, a folder's files by name, or what a list names.

    Raises:
        BadInputError: there is no such file or folder, it is empty, or a list that is not text.
    """
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    elif path.suffix == LIST and path.is_file():
        try:
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(f"{path}: not a list of videos: {error}") from error
        found = [path.parent / line for line in lines if line and not line.startswith("#")]
    else:
        return [path]
    if not found:
        raise BadInputError(f"{path}: names no videos")
    return found
