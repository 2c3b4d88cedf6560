"""What goes into a run over videos, and what comes out of it, as frozen dataclasses. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.errors import C3DExportError
from exporter.load_checks import LoadChecks
from exporter.types import Device
from exporter.video.sampling import Length, Sampling, Short
from exporter.video.types import ClipSpan
from models.class_names import Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class InferenceOptions(LoadChecks):
    """How a model runs over videos, and what its file must be (`LoadChecks`).

    Attributes:
        engine: the engine that runs it; None takes the format's own.
        device: where it runs; None for the first device of its engine, which is the CPU if it can use that.
        threads: number of threads of the engine; None leaves the engine's default.
        batch: clips in one call of the model; None takes the model's where it is fixed, otherwise 1 on a CPU and 8 on
            another device.
        preprocess: name of a profile, or a file with one; None takes the manifest's.
        mean: file of a mean for each pixel, in place of the profile's mean by channel.
        labels: name of a known list of class names, or a file with one name a line, in the order of the outputs; None
            takes the manifest's.
        outputs: the outputs to return; None for all that the model has.
    """

    engine: str | None = None
    device: Device | None = None
    threads: int | None = None
    batch: int | None = None
    preprocess: str | Path | None = None
    mean: Path | None = None
    labels: Labels | None = None
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class RayOptions:
    """Worker processes on a Ray cluster, which take one video at a time.

    Each has as many processors as the model has threads, `InferenceOptions.threads`, which is then 1 by default, and a
    GPU of its own where the model runs on one.

    Attributes:
        address: the cluster's (`host:6379`, or `auto` for the one that runs here); None for $RAY_ADDRESS, and without
            that for a cluster of this run on this machine.
        workers: number of worker processes, at most; None for as many as the cluster has room for.
    """

    address: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class ClipOptions:
    """How clips are taken from each video; see `exporter.video.sampling.Sampling`.

    Attributes:
        window: what a clip covers, in frames or seconds; None takes the profile's distance between frames.
        step: from the start of a clip to that of the next, in frames or seconds; None takes the profile's, otherwise
            the window.
        clips: this many clips, evenly spaced over the video; None takes the profile's, where neither `step` nor a
            window in seconds is given.
        short: what to do with a video that is shorter than a clip.

    Raises:
        UsageError: what `Sampling` refuses.
    """

    window: Length | None = None
    step: Length | None = None
    clips: int | None = None
    short: Short = "repeat"

    def __post_init__(self) -> None:
        # what does not go together is refused before a model is loaded or exported
        Sampling(1, window=self.window, step=self.step, clips=self.clips, short=self.short)


@dataclass(frozen=True)
class ClipOutputs(ClipSpan):
    """What the model returned for one clip.

    Attributes:
        source: the video, as the user named it.
        number: its position among the sources, from 0.
        outputs: {output: its values for this clip, without the batch axis}.
        preview: the clip's middle frame as the network sees it, (height, width, 3) uint8 RGB; None unless asked for.
    """

    source: str
    number: int
    outputs: Mapping[str, NDArray[Any]]
    preview: NDArray[Any] | None = None


@dataclass(frozen=True)
class VideoEnd:
    """The end of a video: after its last clip, or where it could not be read any further.

    Attributes:
        source: the video, as the user named it.
        number: its position among the sources, from 0.
        clips: how many clips it gave.
        width: columns of a frame as shown, after rotation; 0 where the video could not be opened.
        height: rows of a frame as shown.
        fps: frames in a second, the average; None where the video does not state it.
        frames: how many frames were decoded.
        duration: seconds, as the video states them; None where it does not.
        notes: what the user should know about the video: corrupt packets that were skipped, ….
        error: why it ended before its end; None for a video that was read completely.
    """

    source: str
    number: int
    clips: int
    width: int = 0
    height: int = 0
    fps: float | None = None
    frames: int = 0
    duration: float | None = None
    notes: tuple[str, ...] = ()
    error: C3DExportError | None = None
