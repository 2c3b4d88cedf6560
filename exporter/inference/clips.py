"""How clips are taken from videos: as the user says, otherwise as the profile's origin takes them."""

from __future__ import annotations

from exporter.inference.predictions import SamplingRecord
from exporter.inference.types import ClipOptions
from exporter.video.sampling import Sampling, Seconds
from models.preprocessing.recipe import Preprocessing


def plan_sampling(frames: int, profile: Preprocessing, options: ClipOptions) -> Sampling:
    """Return how clips are taken.

    Args:
        frames: frames of a clip.
        profile: decides what the options leave open.
        options: as the user gave them.

    Raises:
        UsageError: options that do not go together.
    """
    clips, step = options.clips, options.step
    if clips is None and step is None:
        clips = None if isinstance(options.window, Seconds) else profile.clips
        step = profile.clip_step if clips is None else None
    return Sampling(frames, profile.frame_step, options.window, step, clips, options.short)


def note_overlap(sampling: Sampling, options: ClipOptions) -> tuple[str, ...]:
    """Return a note where clips overlap although the user asked for no step: a video then takes many times as long."""
    step, span = sampling.step, sampling.span
    if options.step is not None or not isinstance(step, int) or span is None or step >= span:
        return ()
    return (f"clips overlap: the profile's step is {step}; --step {span} is about {span / step:.2g} times as fast",)


def record_sampling(sampling: Sampling) -> SamplingRecord:
    """Return the sampling as results record it."""
    stride = None if sampling.clips is not None else sampling.stride
    return SamplingRecord(
        frames=sampling.frames,
        window=sampling.span if sampling.span is not None else str(sampling.window),
        step=stride if stride is None or isinstance(stride, int) else str(stride),
        clips=sampling.clips,
        short=sampling.short,
    )
