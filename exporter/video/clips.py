"""Real clips: the one that ships with the package, and the user's videos."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import BadInputError, UnavailableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIST_SUFFIX = ".txt"
"""A file with this suffix lists videos: one path per line, relative to the file; empty lines and `#` comments are
skipped."""
PACKAGED_SIZE = (171, 128)
"""The width and height of the packaged frames."""
PACKAGED_FRAMES = 16


def packaged_frames(count: int = PACKAGED_FRAMES) -> NDArray[np.uint8]:
    """Return frames of a real video (tests/data/README.md says which): (count, 128, 171, 3), uint8, RGB.

    More than there are run backwards and forwards.
    """
    with files("exporter.video").joinpath("packaged_clip.npz").open("rb") as stream, np.load(stream) as archive:
        frames: NDArray[np.uint8] = archive["frames"]
    added = max(0, count - len(frames))
    return np.pad(frames, ((0, added), (0, 0), (0, 0), (0, 0)), mode="symmetric")[:count] if added else frames[:count]


def decode(
    path: Path, transform: Callable[[NDArray[np.uint8]], NDArray[Any]], frames: int, frame_step: int = 1
) -> NDArray[Any]:
    """Decode the first frames of a video.

    Each frame is transformed when it is decoded, so only one is held at the video's own size.

    Args:
        path: any file that FFmpeg reads.
        transform: takes a frame (height, width, 3), uint8, RGB, and returns what is kept of it.
        frames: the number of frames.
        frame_step: how far apart they are.

    Returns:
        What `transform` returned, stacked: (frames, …).

    Raises:
        UnavailableError: PyAV is not installed.
        BadInputError: not a video, or too short.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise UnavailableError("reading a video needs PyAV; pip install 'c3d-export[video]'") from error
    if not path.is_file():
        raise BadInputError(f"no such video: {path}")
    decoded: list[NDArray[Any]] = []
    try:
        with av.open(str(path)) as container:
            wanted = islice(container.decode(video=0), 0, frames * frame_step, frame_step)
            for frame in wanted:
                decoded.append(transform(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)))
    except (FFmpegError, IndexError, ValueError) as error:
        raise BadInputError(f"{path}: not a video that can be decoded: {error}") from error
    if len(decoded) < frames:
        raise BadInputError(f"{path}: {len(decoded)} frames, but a clip has {frames}")
    return np.stack(decoded)


def find_videos(path: Path) -> list[Path]:
    """Return the videos that a `--clip` names: the file itself, a folder's files by name, or the entries of a list.

    Raises:
        BadInputError: the folder or list is empty, or the list is not text.
    """
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    elif path.suffix == LIST_SUFFIX and path.is_file():
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
