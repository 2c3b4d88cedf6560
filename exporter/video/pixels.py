"""From a decoded frame to RGB pixels, the right way up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from exporter.video.types import VideoSummary

if TYPE_CHECKING:
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame

ORIENTATIONS: dict[tuple[int, ...], tuple[int, bool]] = {
    (1, 0, 0, 1): (0, False),
    (-1, 0, 0, 1): (0, True),
    (1, 0, 0, -1): (2, True),
    (-1, 0, 0, -1): (2, False),
    (0, -1, 1, 0): (1, False),
    (0, -1, -1, 0): (1, True),
    (0, 1, 1, 0): (3, True),
    (0, 1, -1, 0): (3, False),
}
"""{upper left of FFmpeg's display matrix, by rows: (quarter turns counterclockwise, then flip left and right)}."""
MAX_SKEW = 0.02
"""How far an element of the display matrix may be from -1, 0 and 1. FFmpeg takes a degree, 0.017, as none, too."""

MAX_SIDE_DATA_TYPES = 64
"""More than FFmpeg 8.1 has types of side data: 33, of which PyAV 18 knows 28."""
UNSCALED = frozenset(("yuv420p", "yuvj420p"))
"""Formats whose frames of even height libswscale converts without interpolating chroma."""


class FrameConverter:
    """Converts the frames of one video to RGB as the command line `ffmpeg -pix_fmt rgb24` does, bit for bit.

    That is libswscale with bicubic interpolation of the chroma, which shows where chroma is subsampled and libswscale
    has no unscaled conversion (odd heights, 10 bits); the matrix and range that the frame states, BT.601 and limited
    range where it states none; without alpha. The display matrix (rotation by quarter turns, flips) is applied.

    Args:
        constant_size: scale every frame to the size of the first one, as `ffmpeg` does where the size changes.
        summary: takes notes.
    """

    def __init__(self, summary: VideoSummary, *, constant_size: bool) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._reformatter = VideoReformatter()  # one for all frames: making libswscale's context takes most of the time
        self._bicubic = int(Interpolation.BICUBIC)
        self._summary = summary
        self._constant_size = constant_size
        self._size: tuple[int, int] | None = None

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return the (width, height) of a frame as it is shown."""
        sideways = self._orientation(frame)[0] % 2
        return (frame.height, frame.width) if sideways else (frame.width, frame.height)

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the pixels: (height, width, 3), uint8, RGB, contiguous."""
        size = self.size(frame)
        self._size = self._size or size
        if size != self._size:
            self._summary.note(f"the size of the frames changes, from {_text(self._size)} to {_text(size)}")
        turns, flip = self._orientation(frame)
        width, height = self._size if self._constant_size else size
        if turns % 2:
            width, height = height, width
        if frame.height % 2 or frame.interlaced_frame or frame.format.name not in UNSCALED:
            frame = _without_chroma_hints(frame)
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=self._bicubic, threads=1
        )
        pixels = rgb.to_ndarray().astype(np.uint8, copy=False)
        if not turns and not flip:
            return pixels
        turned = np.rot90(pixels, turns)
        return np.ascontiguousarray(turned[:, ::-1] if flip else turned)

    def _orientation(self, frame: VideoFrame) -> tuple[int, bool]:
        """Return how to turn a frame: quarter turns counterclockwise, then whether to flip left and right."""
        matrix = _read_display_matrix(frame)
        if matrix is None:
            return 0, False
        elements = np.frombuffer(matrix, np.int32)[[0, 1, 3, 4]] / 65536
        signs = tuple(int(value) for value in np.rint(elements))
        orientation = ORIENTATIONS.get(signs)
        if orientation is None or np.abs(elements - np.rint(elements)).max() > MAX_SKEW:
            self._summary.note(f"its metadata asks for a rotation by {frame.rotation} degrees, which is not applied")
            return 0, False
        return orientation


def _read_display_matrix(frame: VideoFrame) -> bytes | None:
    """Return FFmpeg's display matrix of a frame, nine int32; None where it has none.

    PyAV reads no side data of a frame that has some of a type unknown to it, such as an image's EXIF. FFmpeg removes
    those types first; it has made a display matrix of the orientation in EXIF by then. The container is made here
    because a frame and its attribute `side_data` refer to each other, which keeps the frame in memory until Python's
    garbage collector finds it.
    """
    from av.sidedata.sidedata import SideDataContainer

    container = cast("Callable[[VideoFrame], Iterable[SideData]]", SideDataContainer)  # its stub lacks the argument
    try:
        side_data = container(frame)
    except ValueError:
        side_data = container(_remove_unknown_side_data(frame))
    return next((bytes(data) for data in side_data if data.type.name == "DISPLAYMATRIX"), None)


def _remove_unknown_side_data(frame: VideoFrame) -> VideoFrame:
    """Return the same picture, not copied, without the side data whose types PyAV does not know."""
    from av.filter import Graph
    from av.sidedata.sidedata import Type

    known = {kind.value for kind in Type}
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    unknown = [number for number in range(MAX_SIDE_DATA_TYPES) if number not in known]
    removers = [graph.add("sidedata", f"mode=delete:type={number}") for number in unknown]
    graph.link_nodes(source, *removers, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def _without_chroma_hints(frame: VideoFrame) -> VideoFrame:
    """Return a frame without what libswscale would take into account and FFmpeg's filter `scale` removes.

    That is the position of the chroma samples, and that the frame is interlaced, whose fields would then get their
    chroma separately. PyAV cannot change either, so the planes are copied. Frames whose chroma has the full size, for
    which it makes no difference, are returned as they are.
    """
    from av.video.frame import VideoFrame

    name, width, height = frame.format.name, frame.width, frame.height
    if (frame.format.chroma_width(width), frame.format.chroma_height(height)) in ((width, height), (0, 0)):
        return frame
    plain = VideoFrame(width, height, name)
    for source, target in zip(frame.planes, plain.planes, strict=True):
        rows, into = (
            np.frombuffer(cast("Any", plane), np.uint8).reshape(-1, abs(plane.line_size)) for plane in (source, target)
        )
        common = min(rows.shape[1], into.shape[1])
        into[:, :common] = rows[:: 1 if source.line_size > 0 else -1, :common]
    plain.colorspace, plain.color_range = frame.colorspace, frame.color_range
    return plain


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
