"""The clips that an artifact is verified on.

Clips are drawn once and batches refer to them, so that the costly float64 truth is computed once for each clip however
many batches it stands in.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exporter.errors import BadInputError, UnavailableError
from models.preprocessing import FRAMES, Preprocessing
from models.spec import CLIP_SHAPE

if TYPE_CHECKING:
    from numpy.typing import NDArray

FREE_BATCH = 2
"""The other batch size that an artifact with a free batch is run at."""


@dataclass(frozen=True)
class InputBatch:
    """A batch that the artifact is run on: its name and which of the clips stand in it."""

    name: str
    clips: tuple[int, ...]


@dataclass(frozen=True)
class ClipPool:
    """The clips of a verification.

    Attributes:
        clips: (M, 3, 16, 112, 112), float32.
        members: {kind of input: the clips of that kind}.
    """

    clips: "NDArray[np.float32]"
    members: dict[str, tuple[int, ...]]

    def batches(self, batch: int | None) -> tuple[InputBatch, ...]:
        """Lay out the batches for an artifact: each kind alone, and the random clips together as a larger batch.

        Args:
            batch: the artifact's fixed batch size, which each kind then fills; None where it is free.
        """
        laid: list[InputBatch] = []
        for name, clips in self.members.items():
            if batch is not None:
                laid.append(InputBatch(name, tuple(clips[i % len(clips)] for i in range(batch))))
            else:
                laid += [InputBatch(name, clips[:1])] + [InputBatch(name, clips)] * (len(clips) > 1)
        return tuple(laid)


def draw_clips(preprocessing: Preprocessing, *, seed: int = 0, videos: tuple[Path, ...] = ()) -> ClipPool:
    """Draw the clips.

    Random clips are standard normal; `saturated` is every value 0 or 255 at random; `video` is the real clip that
    ships with the package, as `preprocessing` gives it.

    Args:
        preprocessing: what the network expects of real pixels.
        seed: of the random clips.
        videos: files of the user's, each a further kind of input.

    Raises:
        BadInputError: a video cannot be read or is too short.
        UnavailableError: videos were given and PyAV is not installed.
    """
    generator = np.random.default_rng(seed)
    kinds: dict[str, list[NDArray[np.float32]]] = {
        "random": [generator.standard_normal(CLIP_SHAPE, dtype=np.float32) for _ in range(FREE_BATCH)],
        "zeros": [np.zeros(CLIP_SHAPE, dtype=np.float32)],
        "saturated": [generator.integers(0, 2, CLIP_SHAPE).astype(np.float32) * 255],
        "video": [preprocessing.clip(resized(packaged_frames(), preprocessing))],
    }
    for path in videos:
        name = path.name if path.name not in kinds else f"{path.name} ({len(kinds)})"
        kinds[name] = [preprocessing.clip(decode(path, preprocessing))]
    clips: list[NDArray[np.float32]] = []
    members: dict[str, tuple[int, ...]] = {}
    for name, drawn in kinds.items():
        members[name] = tuple(range(len(clips), len(clips) + len(drawn)))
        clips += drawn
    return ClipPool(np.stack(clips), members)


def packaged_frames() -> "NDArray[np.uint8]":
    """Return 16 frames of a real video at 171x128: (16, 128, 171, 3), uint8, RGB. tests/data/README.md tells which."""
    with files("exporter.parity").joinpath("video.npz").open("rb") as stream, np.load(stream) as archive:
        return archive["frames"]


def resized(frames: "NDArray[np.uint8]", preprocessing: Preprocessing) -> "NDArray[np.uint8]":
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


def decode(path: Path, preprocessing: Preprocessing, frames: int = FRAMES) -> "NDArray[np.uint8]":
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
