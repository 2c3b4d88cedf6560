"""Image files as the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from exporter.errors import VideoError
from exporter.video.container import DEFAULT_FPS, FileFrames
from exporter.video.sources import Source
from exporter.video.types import VideoSummary
from models.errors import join_limited

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class ImageFrames:
    """Images as the frames of a video, at 25 frames per second as in FFmpeg.

    Each is opened when its turn comes, as a video of which the first frame counts. One that cannot be read is skipped,
    counted as a corrupt packet, and named.

    Args:
        source: the images.
        summary: counts, and takes notes.
    """

    tick, left_out = Fraction(0), 0
    rate: Fraction | None = DEFAULT_FPS

    def __init__(self, source: Source, summary: VideoSummary) -> None:
        self._source, self._summary = source, summary
        self.ending: str | None = None
        self.stated = len(source.images)
        self.duration: float | None = float(self.stated / DEFAULT_FPS)

    def read(self) -> Iterator[VideoFrame]:
        """Yield the first frame of each image, with time stamps."""
        broken: list[str] = []
        number = 0
        for path in self._source.images:
            try:
                with FileFrames(Source(path, path), VideoSummary()) as image:
                    frame = next(image.read(), None)
            except VideoError:
                frame = None
            if frame is None:
                self._summary.corrupt_packets += 1
                broken.append(path)
                continue
            frame.pts, frame.time_base, frame.duration = number, 1 / DEFAULT_FPS, 1
            number += 1
            yield frame
        if broken:
            self.ending = f"images that cannot be decoded: {join_limited(broken, 3)}"

    def count(self) -> int | None:
        """Return None: whether an image can be decoded is not known before."""
        return None

    def close(self) -> None:
        """Do nothing: no file stays open."""
