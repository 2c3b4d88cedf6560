"""Results of `predict` made by hand, for what shows them."""

import math
from dataclasses import replace

import numpy as np

from exporter.inference.predictions import (
    ClassScore,
    ClipPrediction,
    ModelRecord,
    PredictResult,
    PreviewFrame,
    SamplingRecord,
    TimelinePoint,
    VideoFailure,
    VideoPrediction,
)

NAMES = (
    "Biking",
    "HorseRiding",
    "WalkingWithDog",
    "Skijet",
    "a class with a long name: okinawan kobudō, cross-country cycling",
)
VALUES = (0.7312, 0.1204, 0.0511, 0.0208, 0.0102)
TOP = tuple(ClassScore(10 + rank, name, value) for rank, (name, value) in enumerate(zip(NAMES, VALUES, strict=True)))
HOSTILE = "<script>alert('x')</script> & \"$\\frac{1}{2}$\" \u202e\x07\udcff.mp4"
"""A name with everything that markup, formulas, terminals and UTF-8 trip over."""


def video(
    source: str = "videos/bikes.mp4", clips: int = 15, *, frames: int = 12, seconds: float = 10.0
) -> VideoPrediction:
    """A video with frames of noise, a timeline and every clip's classes."""
    generator = np.random.default_rng(clips)
    step = seconds / clips
    curves = [
        tuple(value * (0.6 + 0.4 * math.sin(6 * index / clips + rank)) for rank, value in enumerate(VALUES))
        for index in range(clips)
    ]
    pixels = [generator.integers(0, 256, (112, 112, 3), dtype=np.uint8).tobytes() for _ in range(frames)]
    return VideoPrediction(
        source=source,
        clips=clips,
        top=TOP,
        per_clip=tuple(
            ClipPrediction(index, index * 16, index * 16 + 15, index * step, (index + 1) * step, 0, TOP)
            for index in range(clips)
        ),
        width=640,
        height=272,
        fps=25.0,
        frames=clips * 16,
        duration=seconds,
        notes=("2 corrupt packets were skipped",),
        previews=tuple(
            PreviewFrame(index, (index + 0.5) * seconds / frames, 112, 112, data) for index, data in enumerate(pixels)
        ),
        timeline=tuple(TimelinePoint(index * step, (index + 1) * step, 1, curve) for index, curve in enumerate(curves)),
    )


def result(*videos: VideoPrediction, failures: tuple[VideoFailure, ...] = ()) -> PredictResult:
    """The result of a run over these videos."""
    return PredictResult(
        model=ModelRecord(
            path="artifacts/c3d.onnx",
            sha256="ab" * 32,
            engine="onnxruntime 1.32.0 on the CPU",
            network="C3D, 101 classes",
            clip=(16, 112, 112),
            preprocessing="caffe-sports1m",
            preprocessing_inside=False,
            recipe="BGR, 0-255, 171x128, crop 112 at (8, 29), mean (90.25, 97.66, 101.41)",
        ),
        sampling=SamplingRecord(16, 16, 16, None, "repeat"),
        output="logits",
        values="probabilities",
        softmax=True,
        average="probabilities",
        videos=videos,
        failures=failures,
        notes=("the mean by channel stands for the mean cube",),
        seconds=12.3,
    )


FAILURE = VideoFailure("videos/broken.mp4", "videos/broken.mp4: no video stream", 3)


def hostile() -> PredictResult:
    """Names of videos, classes and errors that try to break out of the page."""
    bad = tuple(replace(entry, name=HOSTILE) for entry in TOP)
    return result(replace(video(HOSTILE, 3, frames=2), top=bad), failures=(VideoFailure(HOSTILE, HOSTILE, 3),))
