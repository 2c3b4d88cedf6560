"""From the features of a video's clips to the rows that are written.

* `clips`: a row for each clip, as the network returned it.
* `mean`: one row, the mean over the clips divided by its Euclidean norm. It is the video descriptor of the C3D paper
  (Tran et al., ICCV 2015, section 4: "averaged to form a 4096-dim video descriptor which is then followed by an
  L2-normalization").
* `segments`: 32 rows, each the mean over the clips of one segment divided by its Euclidean norm, as the features for
  anomaly detection in surveillance videos are (Sultani et al., CVPR 2018; `Save_C3DFeatures_32Segments.m`). Of n clips,
  segment k begins at clip `round(k * (n - 1) / 32)`, from 0 and with halves rounded up, and ends before the next one
  begins; one that would be empty is the single clip it begins at. The last clip of a video is thus in no segment where
  the video has more than 32 clips.
* `segments-ekosman`: the same, with halves rounded to the even number, as in ekosman's PyTorch port
  (AnomalyDetectionCVPR2018-Pytorch, `feature_extractor.py`). The two differ only where `k * (n - 1) / 32` is a half.

Means are computed in float64. A row of zeros, which has no direction, stays a row of zeros.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from exporter.inference.features.types import Aggregate, FeatureRow
from exporter.storage import translate_os_errors

SEGMENTS = 32
CHUNK = 1024
"""Rows that are added up at a time."""


def aggregate(rows: Iterable[FeatureRow], how: Aggregate, scratch: Path, output: Path) -> Iterator[FeatureRow]:
    """Yield the rows to write for one video, from those of its clips. Without clips there are none.

    Args:
        rows: the clips' rows, in order.
        how: see the module.
        scratch: an empty folder on disk, for features of videos of any length.
        output: the folder that the user named, for the message when the disk is full.

    Raises:
        OutputError: the disk is full, ….
    """
    if how == "clips":
        return iter(rows)
    if how == "mean":
        return _mean(rows)
    return _segments(rows, scratch, output, half_even=how == "segments-ekosman")


def segment_bounds(clips: int, *, half_even: bool = False) -> list[tuple[int, int]]:
    """Return the clips of each segment as (first, end); `end` is one more than the last.

    Args:
        clips: number of the video's clips, at least 1.
        half_even: round halves to the even number instead of up.
    """
    places = [Fraction(number * (clips - 1), SEGMENTS) for number in range(SEGMENTS + 1)]
    edges = [round(place) if half_even else floor(place + Fraction(1, 2)) for place in places]
    return [(start, max(stop, start + 1)) for start, stop in pairwise(edges)]


def normalize(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return an array divided by its Euclidean norm, in float32; zeros stay zeros."""
    norm = float(np.linalg.norm(values))
    return (values / norm if norm > 0 else values).astype(np.float32)


def _mean(rows: Iterable[FeatureRow]) -> Iterator[FeatureRow]:
    sums: dict[str, NDArray[np.float64]] = {}
    count, span = 0, None
    for row in rows:
        for layer, values in row.features.items():
            total = sums.setdefault(layer, np.zeros(values.shape, np.float64))
            total += values
        count += 1
        span = replace(span or row, last=row.last, end=row.end, repeated=max(row.repeated, (span or row).repeated))
    if span is not None:
        yield replace(span, index=0, features={layer: normalize(total / count) for layer, total in sums.items()})


def _segments(rows: Iterable[FeatureRow], scratch: Path, output: Path, *, half_even: bool) -> Iterator[FeatureRow]:
    """Write the clips' features to disk, because the segments follow from their number, and average from there."""
    spans = array("d")  # 40 bytes a clip: a video may have a million
    files: dict[str, tuple[BinaryIO, tuple[int, ...]]] = {}
    with ExitStack() as stack:
        for row in rows:
            with translate_os_errors(output):
                for layer, values in row.features.items():
                    if layer not in files:
                        stream = (scratch / f".clips-{len(files)}").open("w+b")
                        files[layer] = stack.enter_context(stream), values.shape
                    files[layer][0].write(np.ascontiguousarray(values, np.float32).tobytes())
            spans.extend((row.first, row.last, row.start, row.end, row.repeated))
        if not spans:
            return
        clips = np.frombuffer(spans).reshape(-1, 5)
        with translate_os_errors(output):
            for stream, _ in files.values():
                stream.flush()
        stored = {
            layer: np.memmap(stream, np.float32, "r", shape=(len(clips), *shape))
            for layer, (stream, shape) in files.items()
        }
        for index, (start, stop) in enumerate(segment_bounds(len(clips), half_even=half_even)):
            features = {layer: normalize(_average(values, start, stop)) for layer, values in stored.items()}
            first, _, begin, _, _ = clips[start]
            _, last, _, end, _ = clips[stop - 1]
            repeated = int(clips[start:stop, 4].max())
            yield FeatureRow(index, int(first), int(last), float(begin), float(end), repeated, features)


def _average(values: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float64]:
    total = np.zeros(values.shape[1:], np.float64)
    for chunk in range(start, stop, CHUNK):
        total += values[chunk : min(chunk + CHUNK, stop)].sum(axis=0, dtype=np.float64)
    return total / (stop - start)
