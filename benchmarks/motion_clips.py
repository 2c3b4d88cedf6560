"""Synthetic video clips whose class is a motion: its direction and speed. Drawn from a seed.

A disc, square or triangle crosses a textured background, and a second, equal kind of shape stands still. Position is
uniform and wraps around at the edges, and shape, size, colours and background are drawn without regard to the class:
the distribution of every single frame is the same for all classes, so a network that ignores time cannot be better than
chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

FRAMES = 16
FRAME_RATE = 16
SHAPES = ("disc", "square", "triangle")
DIRECTIONS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")
SPEEDS = {"slow": 0.5, "fast": 1.2}
"""Pixels a frame, for frames of 32 pixels a side."""
SPEED_SPREAD = 0.2
"""A clip's speed differs from its class's by at most this share."""
REFERENCE_SIDE = 32

CLASSES = tuple(f"{direction} {speed}" for direction in DIRECTIONS for speed in SPEEDS)


@dataclass(frozen=True)
class Task:
    """What is drawn.

    Attributes:
        side: height and width of a frame, in pixels.
        noise: standard deviation of the noise on each pixel of each frame, in grey levels (0 to 255).
        min_contrast: the smallest difference between a shape's colour and its background's, in grey levels.
    """

    side: int = REFERENCE_SIDE
    noise: float = 8.0
    min_contrast: float = 40.0


def draw_clips(labels: NDArray[np.int64], task: Task, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return clips (N, T, H, W, 3), uint8 RGB, one for each label (N,)."""
    return np.stack([_draw_clip(int(label), task, generator) for label in labels])


def _draw_clip(label: int, task: Task, generator: np.random.Generator) -> NDArray[np.uint8]:
    background = _texture(task.side, generator)
    angle = 2 * math.pi * (label // len(SPEEDS)) / len(DIRECTIONS)
    speed = list(SPEEDS.values())[label % len(SPEEDS)] * task.side / REFERENCE_SIDE
    speed *= 1 + SPEED_SPREAD * generator.uniform(-1, 1)
    velocity = np.array([-math.sin(angle), math.cos(angle)]) * speed  # rows count downwards
    still = _Shape.draw(task, generator)
    moving = _Shape.draw(task, generator)
    frames = moving.paint(still.paint(background, np.zeros((1, 2))), velocity * np.arange(FRAMES)[:, None])
    frames += task.noise * generator.standard_normal(frames.shape, np.float32)
    return frames.round().clip(0, 255).astype(np.uint8)


def _texture(side: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return a background (1, H, W, 3) of a few waves that repeat at the edges, so that no place is special."""
    y, x = np.mgrid[:side, :side] * (2 * math.pi / side)
    image = np.full((side, side, 3), 128.0)
    for _ in range(4):
        rows, columns = generator.integers(-3, 4, 2)
        phase = generator.uniform(0, 2 * math.pi)
        image += np.sin(rows * y + columns * x + phase)[..., None] * generator.uniform(-16, 16, 3)
    return image[None].astype(np.float32)


@dataclass(frozen=True)
class _Shape:
    kind: str
    centre: NDArray[np.float64]
    radius: float
    turn: float
    contrast: NDArray[np.float32]

    @staticmethod
    def draw(task: Task, generator: np.random.Generator) -> _Shape:
        sign = generator.choice([-1.0, 1.0])
        return _Shape(
            kind=str(generator.choice(SHAPES)),
            centre=generator.uniform(0, task.side, 2),
            radius=generator.uniform(0.1, 0.18) * task.side,
            turn=generator.uniform(0, 2 * math.pi),
            contrast=(sign * generator.uniform(task.min_contrast, 100, 3)).astype(np.float32),
        )

    def paint(self, frames: NDArray[np.float32], offsets: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return frames (T, H, W, 3) with this shape at its centre plus `offsets` (T, 2), around the edges.

        One frame, or one offset, is repeated.
        """
        side = frames.shape[1]
        places = (self.centre + offsets)[..., None]
        y, x = np.moveaxis(((np.arange(side) - places + side / 2) % side - side / 2).astype(np.float32), 1, 0)
        cover = (0.5 - self._distance(y[:, :, None], x[:, None, :])).clip(0, 1)
        return frames + cover[..., None] * self.contrast

    def _distance(self, y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the signed distance (T, H, W) in pixels to the shape's edge; negative inside."""
        if self.kind == "disc":
            return (np.hypot(y, x) - self.radius).astype(np.float32)
        sides = 4 if self.kind == "square" else 3
        angles = self.turn + 2 * math.pi * np.arange(sides) / sides
        inner = self.radius * (0.85 if sides == 4 else 0.65)
        edges = [math.cos(angle) * x + math.sin(angle) * y - inner for angle in angles.tolist()]
        return np.max(np.stack(edges), axis=0).astype(np.float32)


def balanced_labels(count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return labels (count,), every class as often as any other up to one, in random order."""
    return generator.permutation(np.arange(count) % len(CLASSES))


def write_video(path: Path, clip: NDArray[np.uint8]) -> Path:
    """Write a clip (T, H, W, 3) as an H.264 file. Return `path`.

    The same clip and versions of PyAV and FFmpeg give the same bytes: one thread, no time stamp in the container.
    """
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "12", "threads": "1"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = clip.shape[1], clip.shape[2], "yuv420p"
        stream.time_base = Fraction(1, FRAME_RATE)
        for pixels in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return path
