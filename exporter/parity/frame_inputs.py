"""Decoded frames for a model that has its preprocessing inside: drawn and real ones, of several sizes.

Preprocessing is computed from the frames' height and width, so every size is another computation. Those here enlarge
and shrink, by odd ratios, by exactly two and not at all, in landscape and in portrait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.input_types import CONSTANT, TIES, select_input_types
from exporter.storage import file_name
from exporter.types import EXAMPLE_FRAME_SIZE, ParityOptions
from exporter.video.packaged import packaged_frames
from exporter.video.reader import read_first_clip
from exporter.video.sampling import Sampling
from exporter.video.sources import expand_sources
from models.preprocessing.frames import FrameTransform
from models.progress import Progress

Frames = NDArray[np.uint8]

Draw = Callable[[np.random.Generator, tuple[int, ...]], Frames]
Size = tuple[int, int]
"""(height, width)."""

CONSTANT_SIZES: dict[str, Size] = {"zeros": (90, 120), "constant": (213, 127)}
NOISE_SIZE = (480, 640)
TIE_SIZES: tuple[Size, ...] = (EXAMPLE_FRAME_SIZE, (256, 342), (213, 127))
"""The second is twice a frame of 128 rows and 171 columns, where every pixel is the mean of four."""
CROPPED = (120, 160)
"""The packaged clip is also taken without its last rows and columns, which are then enlarged."""
SQUARE = 8
"""Pixels along a side of a checkerboard's squares of one grey level."""


@dataclass(frozen=True)
class DrawnClip:
    """A row of a network that takes video.

    Attributes:
        name: the row's name.
        values: as the network takes it, without a batch axis.
        frames: (time, height, width, 3), uint8, RGB, of a real video; None for others.
        given: the video is one of the user's.
    """

    name: str
    values: NDArray[Any]
    frames: Frames | None = None
    given: bool = False


def draw_frames(length: int, frame_step: int, options: ParityOptions, note: Progress) -> Iterator[DrawnClip]:
    """Yield frames of the input types asked for, and of the user's videos at their own size.

    `random`, `pixels` and `saturated` are noise, the last of black and white; `ties` alternates between two
    neighbouring grey levels, so that interpolated values lie next to a tie of the rounding to uint8; `zeros` and
    `constant` hold one value. Other input types have no frames.

    Args:
        length: frames of a clip.
        frame_step: how far apart a video's frames are taken.
        options: seed, samples, videos, and the input types.
        note: called with a line about each folder of videos of which files are left out.

    Raises:
        BadInputError: a video cannot be read or is too short.
        UnavailableError: videos were given and PyAV is not installed.
        UsageError: an unknown input type.
    """
    random = np.random.default_rng(options.seed)
    selected = select_input_types(options.input_types)
    for name, draw, sizes in _kinds():
        for _ in range(options.samples if name in selected and name not in CONSTANT else name in selected):
            for number, size in enumerate(sizes):
                title = name if number == 0 else f"{name} {size[1]}x{size[0]}"
                yield DrawnClip(title, draw(random, (length, *size, 3)))
    if "video" in selected:
        packaged = packaged_frames(length)
        height, width = CROPPED
        cropped = np.ascontiguousarray(packaged[:, :height, :width])
        yield DrawnClip("video", packaged, packaged)
        yield DrawnClip(f"video {width}x{height}", cropped, cropped)
    for name, clip in read_clips(options, None, Sampling(length, frame_step, short="skip"), set[str](), note):
        frames = np.array(clip)  # a copy: torch wants writable memory
        yield DrawnClip(name, frames, frames, given=True)


def read_clips(
    options: ParityOptions, transform: FrameTransform | None, sampling: Sampling, names: set[str], note: Progress
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and the frames of the first clip of each of the user's videos.

    Args:
        options: the videos.
        transform: resizes and crops the frames; None leaves them as they are.
        sampling: which frames are taken.
        names: those of other rows; a video whose file is called like one of them, or like another, goes by its path.
        note: called with a line about each folder of videos of which files are left out.

    Raises:
        BadInputError: a video cannot be read or is too short.
        UnavailableError: videos were given and PyAV is not installed.
    """
    for source in expand_sources(options.clips, note=lambda text: note(f"--clip {text}")):
        clip = read_first_clip(source, transform, sampling)
        name = file_name(source.url)
        name = name if name not in names else source.name
        names.add(name)
        yield name, clip.frames


def _kinds() -> Sequence[tuple[str, Draw, tuple[Size, ...]]]:
    """Return (input type, how it is drawn, its sizes), those that show most first."""
    constants = [(name, _constant(int(value)), (CONSTANT_SIZES[name],)) for name, value in CONSTANT.items()]
    return (
        ("pixels", _noise, (NOISE_SIZE,)),
        ("random", _noise, (EXAMPLE_FRAME_SIZE,)),
        ("saturated", _saturated, (EXAMPLE_FRAME_SIZE,)),
        (TIES, _ties, TIE_SIZES),
        *constants,
    )


def _constant(value: int) -> Draw:
    return lambda _, shape: np.full(shape, value, np.uint8)


def _noise(random: np.random.Generator, shape: tuple[int, ...]) -> Frames:
    return random.integers(0, 256, shape, np.uint8)


def _saturated(random: np.random.Generator, shape: tuple[int, ...]) -> Frames:
    return random.integers(0, 2, shape, np.uint8) * np.uint8(255)


def _ties(random: np.random.Generator, shape: tuple[int, ...]) -> Frames:
    """Return squares of a random grey level each, to which every second pixel adds one."""
    length, height, width, channels = shape
    squares = random.integers(0, 255, (length, -(-height // SQUARE), -(-width // SQUARE), channels), np.uint8)
    levels = squares.repeat(SQUARE, axis=1).repeat(SQUARE, axis=2)[:, :height, :width]
    odd = np.indices((height, width)).sum(axis=0) % 2
    return levels + odd[:, :, np.newaxis].astype(np.uint8)
