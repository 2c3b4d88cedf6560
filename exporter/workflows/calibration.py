"""From the videos of `--calibrate` to clips: some to measure value ranges on, others to evaluate the result.

An evaluation clip must say something about videos that were not seen. So where there are several videos, whole
videos are held out; of a single one, its last part is, and no clip of it shares a frame with a calibration clip.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.calibration_clips import PACKAGED_CLIPS, CalibrationClips
from exporter.errors import BadInputError, UsageError, VideoError, join_limited
from exporter.parity.calibration_sources import (
    ArrayRecording,
    ProfileTransform,
    Recording,
    Take,
    VideoRecording,
    take_clips,
)
from exporter.storage import file_name
from exporter.types import CalibrationOptions
from exporter.video.packaged import packaged_frames
from exporter.video.sampling import Sampling, place_evenly
from exporter.video.sources import expand_sources
from models.built_model import BuiltModel
from models.errors import count
from models.preprocessing.profiles import UNKNOWN, describe_profiles
from models.preprocessing.recipe import COLOURS
from models.progress import Progress, no_progress
from models.specs import TensorSpec

Clip = NDArray[np.float32]
DEFAULT_SAMPLES = 32
"""Clips that are taken without `--calibration-samples`, if they fit into `DEFAULT_BYTES`: C3D's take 77 MB."""
DEFAULT_BYTES, MAX_BYTES = 1 << 28, 1 << 32
"""Bytes of all clips: the limit for the default number, and the limit for any."""
HELD_OUT_DIVISOR = 4
"""One of this many clips is held out, and one of this many videos."""
FEW_CLIPS = 4
"""Held-out clips below which the report says that they are few: each is a quarter of the top-1 agreement or more."""
NOISE_CLIPS = 3
"""Noise clips for calibration where the user gives none."""
ARRAYS_SUFFIX = ".npz"
NOISE = "noise"

T = TypeVar("T")


def make_calibration(
    model: BuiltModel, options: CalibrationOptions, seed: int = 0, progress: Progress = no_progress
) -> CalibrationClips:
    """Return the clips to calibrate a network with, and those held out. The same options give the same clips.

    Without clips of the user: the packaged clip is held out; calibration sees it mirrored and played backwards, and
    noise. A network that takes no video gets noise alone.

    Args:
        model: the network; one that has its preprocessing inside is calibrated on the values after it.
        options: the videos, or `.npz` files of clips as the network takes them, and the number of clips.
        seed: of the noise.
        progress: called for every video.

    Raises:
        UsageError: the network takes no video, or its profile is not known, or there are too many samples.
        VideoError: a source names no videos, or one cannot be read, or all are too short.
        BadInputError: a file's clips do not fit, or hold NaN or infinities, or are of another profile.
        UnavailableError: videos were given and PyAV is not installed.
    """
    network = model.without_preprocessing or model
    samples = _count_samples(network.input, options)
    if not options.clips:
        return _without_clips(model, network, seed)
    inside = model.without_preprocessing is not None
    notes: list[str] = []
    recordings = _open_all(options.clips, network, samples, notes, inside=inside)
    recordings = _without_copies(recordings, notes)
    short = [one.name for one in recordings if one.length < one.span]
    recordings = [one for one in recordings if one.length >= one.span]
    calibration, held_out = _divide(recordings, samples, network)
    measured = take_clips(calibration, lambda text: progress(f"calibration clips, {text}"), frames=False)
    others = take_clips(held_out, lambda text: progress(f"held out clips, {text}"), frames=inside)
    notes += [*measured.notes, *others.notes]
    unseen = _find_unseen(measured.clips, others.clips)
    evaluated = [others.clips[number] for number in unseen]
    names = [others.names[number] for number in unseen]
    frames = [others.frames[number] for number in unseen] if others.frames else []
    if len(names) < FEW_CLIPS:
        notes.append(
            f"accuracy on only {count(len(names), 'held-out clip')} proves little: give more videos or longer ones "
            f"(of {FEW_CLIPS * HELD_OUT_DIVISOR} clips {FEW_CLIPS} are held out)"
        )
    if short:
        notes.append(f"--calibrate: shorter than one clip and left out: {join_limited(short, 4)}")
    where = "other videos" if len(recordings) > 1 else "its last part"
    description = f"{_count_clips(measured.clips, calibration)}, {count(len(evaluated), 'clip')} of {where} held out"
    return _collect(measured.clips, evaluated, names, description, notes, frames)


def _count_samples(spec: TensorSpec, options: CalibrationOptions) -> int:
    size = 4 * int(np.prod([size if isinstance(size, int) else 1 for size in spec.shape[1:]], dtype=np.int64))
    if options.samples is None:
        return max(2, min(DEFAULT_SAMPLES, DEFAULT_BYTES // size))
    if options.samples * size > MAX_BYTES:
        raise UsageError(
            f"--calibration-samples {options.samples}: clips of {spec} would take "
            f"{options.samples * size / 2**30:.1f} GiB of memory; at most {MAX_BYTES // size} fit into "
            f"{MAX_BYTES >> 30} GiB"
        )
    return options.samples


def _open_all(
    clips: Sequence[str | Path], network: BuiltModel, samples: int, notes: list[str], *, inside: bool
) -> list[Recording]:
    """Open at most `samples` of the recordings that the user names, evenly from all of them; notes are added."""
    transform = ProfileTransform.of(network)
    files = [Path(name) for name in clips if str(name).endswith(ARRAYS_SUFFIX)]
    if files and inside:
        raise UsageError(f"--calibrate {files[0]}: with --with-preprocess the network takes frames; give videos")
    videos = [name for name in clips if not str(name).endswith(ARRAYS_SUFFIX)]
    if videos and transform is None:
        raise UsageError(
            f"--calibrate {videos[0]}: {network.title} takes no RGB video; give its inputs as a file {ARRAYS_SUFFIX}, "
            "one row each"
        )
    if transform is not None and transform.profile.name == UNKNOWN.name:
        raise UsageError(
            "--calibrate: how frames are preprocessed for these weights is not known; state it with "
            f"--preprocess NAME|FILE: {describe_profiles()}"
        )
    sources = expand_sources(videos, note=lambda text: notes.append(f"--calibrate {text}"))
    shown = [file_name(source.url) for source in sources]
    named = [
        (source, name if shown.count(name) == 1 else source.name) for source, name in zip(sources, shown, strict=True)
    ]
    opened: list[Recording] = [ArrayRecording(path, network.input, transform) for path in _pick(files, samples)]
    for source, name in _pick(named, samples):
        assert transform is not None
        sampling = Sampling(transform.size[0], transform.profile.frame_step, short="skip")
        opened.append(VideoRecording(source, name, sampling, transform))
    return opened


def _without_copies(recordings: Sequence[Recording], notes: list[str]) -> list[Recording]:
    """Return the recordings without further copies of a file; a note that names these is added.

    A file that is named twice, or lies there under two names, would be calibrated on and held out.
    """
    lengths = Counter(one.length for one in recordings)
    known: dict[str, str] = {}
    kept: list[Recording] = []
    copies: list[str] = []
    for one in recordings:
        content = one.fingerprint() if lengths[one.length] > 1 else ""  # files of other lengths need not be read
        if content in known:
            copies.append(f"{one.name} is {known[content]}")
            continue
        kept.append(one)
        if content:
            known[content] = one.name
    if copies:
        notes.append(f"--calibrate: files named more than once are taken once: {join_limited(copies, 4)}")
    return kept


def _find_unseen(calibration: Sequence[Clip], held_out: Sequence[Clip]) -> list[int]:
    """Return which held-out clips differ from every calibration clip; those of still images or repeated rows do not.

    Raises:
        BadInputError: none is left.
    """
    seen = {hashlib.sha256(clip.tobytes()).digest() for clip in calibration}
    unseen = [number for number, clip in enumerate(held_out) if hashlib.sha256(clip.tobytes()).digest() not in seen]
    if not unseen:
        raise BadInputError(
            "--calibrate: every clip held out to evaluate the result is equal to a calibration clip; give videos that "
            "differ"
        )
    return unseen


def _pick(items: Sequence[T], number: int) -> list[T]:
    """Return `number` of the items, evenly from all of them; all where there are fewer."""
    number = min(number, len(items))
    return [items[(2 * place + 1) * len(items) // (2 * number)] for place in range(number)]


def _divide(recordings: list[Recording], samples: int, network: BuiltModel) -> tuple[list[Take], list[Take]]:
    """Return from where calibration clips and held-out clips are taken."""
    held_out = max(1, round(samples / HELD_OUT_DIVISOR))
    if len(recordings) > 1:
        others = _pick(recordings, max(1, round(len(recordings) / HELD_OUT_DIVISOR)))
        own = [one for one in recordings if all(one is not other for other in others)]
        return _spread(own, samples - held_out), _spread(others, held_out)
    if not recordings:
        raise VideoError(f"--calibrate: every video is shorter than one clip of {network.input}")
    (one,) = recordings
    if one.length < 2 * one.span:
        raise VideoError(
            f"--calibrate {one.name}: too few clips: {count(one.length, one.unit)}, and a clip to calibrate with and "
            f"another one to hold out need {2 * one.span}; give more videos or a longer one"
        )
    border = min(one.length - one.span, max(one.span, round(one.length * (1 - 1 / HELD_OUT_DIVISOR))))
    first, last = _starts(border, one.span, samples - held_out), _starts(one.length - border, one.span, held_out)
    return [Take(one, first)], [Take(one, tuple(border + start for start in last))]


def _spread(recordings: Sequence[Recording], samples: int) -> list[Take]:
    """Take about as many clips of each recording, evenly from all of it."""
    takes: list[Take] = []
    chosen = _pick(recordings, samples)
    for number, one in enumerate(chosen):
        share = samples // len(chosen) + (number < samples % len(chosen))
        takes.append(Take(one, _starts(one.length, one.span, share)))
    return takes


def _starts(length: int, span: int, number: int) -> tuple[int, ...]:
    """Return where up to `number` different clips begin that lie evenly over `length`."""
    room = length - span + 1
    return tuple(dict.fromkeys(place_evenly(length, Sampling(span, clips=min(number, room)))))


def _without_clips(model: BuiltModel, network: BuiltModel, seed: int) -> CalibrationClips:
    random = np.random.default_rng((seed, 1))  # not the numbers of the verification's own noise
    transform = ProfileTransform.of(network)
    if transform is None:
        shape = [size if isinstance(size, int) else 1 for size in network.input.shape[1:]]
        noise = [random.standard_normal(shape, dtype=np.float32) for _ in range(NOISE_CLIPS + 1)]
        note = f"{_NOTHING_GIVEN} ({NOISE}): give inputs of the network's own kind, --calibrate FILE{ARRAYS_SUFFIX}"
        return _collect(noise[1:], noise[:1], ["noise"], NOISE, [note], [])
    length, height, width = transform.size
    frames = packaged_frames(length)
    pixels = random.integers(0, 256, (NOISE_CLIPS + 1, length, height, width, COLOURS), dtype=np.uint8)
    mirrored = np.ascontiguousarray(frames[::-1, :, ::-1])
    calibration = [transform.clip(transform.frame.batch(mirrored)), *(transform.clip(one) for one in pixels[1:])]
    held_out = [transform.clip(transform.frame.batch(frames))]
    names, kept = ["video"], [frames]
    note = f"{_NOTHING_GIVEN} ({PACKAGED_CLIPS}): give videos of the network's own kind, --calibrate VIDEO|FOLDER|LIST"
    inside = model.without_preprocessing is not None
    return _collect(calibration, held_out, names, PACKAGED_CLIPS, [note], kept if inside else [])


_NOTHING_GIVEN = "accuracy was calibrated and evaluated without clips of yours, which proves little"


def _count_clips(clips: Sequence[Clip], takes: Sequence[Take]) -> str:
    noun = "file" if all(take.recording.unit == "clip" for take in takes) else "video"
    return f"{count(len(clips), 'clip')} of {count(len(takes), noun)}"


def _collect(
    calibration: Sequence[Clip],
    held_out: Sequence[Clip],
    names: Sequence[str],
    description: str,
    notes: Sequence[str],
    frames: Sequence[NDArray[np.uint8]],
) -> CalibrationClips:
    arrays = np.stack(calibration), np.stack(held_out)
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} ".encode())
        digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return CalibrationClips(
        *arrays, tuple(names), description, digest.hexdigest(), tuple(dict.fromkeys(notes)), tuple(frames)
    )
