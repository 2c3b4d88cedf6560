"""The rows of each video, from an iterator over the outputs of a model for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from exporter.errors import C3DExportError
from exporter.inference.features.types import FeatureRow
from exporter.inference.types import ClipOutputs, VideoEnd


class VideoRows:
    """The rows of one video, for one iteration.

    Attributes:
        number: its position among the videos.
    """

    def __init__(
        self, first: ClipOutputs | VideoEnd, others: Iterator[ClipOutputs | VideoEnd], layers: Sequence[str]
    ) -> None:
        self.number = first.number
        self._first, self._others, self._layers = first, others, layers
        self._end: VideoEnd | None = None

    @property
    def end(self) -> VideoEnd:
        """The video's end, once all rows were taken."""
        if self._end is None:
            raise RuntimeError("a video's rows were not taken to their end")
        return self._end

    @property
    def error(self) -> C3DExportError | None:
        """Why the video ended before its end; None if it did not, or goes on."""
        return self._end and self._end.error

    def __iter__(self) -> Iterator[FeatureRow]:
        """Yield the rows.

        Raises:
            C3DExportError: `error`.
        """
        item = self._first
        while isinstance(item, ClipOutputs):
            values = {layer: np.asarray(item.outputs[layer], np.float32) for layer in self._layers}
            yield FeatureRow(item.index, item.first, item.last, item.start, item.end, item.repeated, values)
            item = next(self._others)
        self._end = item
        if item.error is not None:
            raise item.error


def split_videos(items: Iterable[ClipOutputs | VideoEnd], layers: Sequence[str]) -> Iterator[VideoRows]:
    """Yield each video; its rows must be taken to their end before the next one is.

    Args:
        items: for each video its clips in order, then its end.
        layers: the outputs to take.
    """
    iterator = iter(items)
    for first in iterator:
        yield VideoRows(first, iterator, layers)
