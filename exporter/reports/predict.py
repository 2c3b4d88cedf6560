"""What `predict` found, on a terminal or in a pipe, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exporter.inference.predictions import VideoFailure
from exporter.reports.console import (
    TerminalProgress,
    plain,
    print_failed,
    print_field,
    print_notes,
    print_rows,
    print_title,
)
from exporter.reports.formatting import csv_text, format_scores
from models.errors import count

if TYPE_CHECKING:
    from exporter.inference.features.types import FeaturesResult
    from exporter.inference.predictions import (
        ClassScore,
        ClipPrediction,
        PredictResult,
        SamplingRecord,
        ScoreType,
        VideoPrediction,
    )
    from exporter.workflows.predict import PredictRun

CSV_COLUMNS = (
    "video",
    "clip",
    "first_frame",
    "last_frame",
    "start_s",
    "end_s",
    "rank",
    "class_index",
    "class_name",
    "value",
)
CLIP_CLASSES = 3
"""Classes of a clip that the table shows; JSON and CSV have all that were asked for."""


def describe_run(run: PredictResult) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of what decides the numbers."""
    yield from describe_inputs(run)
    yield "values", describe_values(run.output, run.values, softmax=run.softmax)


def describe_inputs(run: PredictResult | FeaturesResult) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of the model, and of what it is given."""
    model = run.model
    yield "model", model.describe()
    inside = "inside the model" if model.preprocessing_inside else model.recipe
    yield "profile", f"{model.preprocessing}: {inside}"
    yield "clips", describe_sampling(run.sampling)


def unit_name(values: ScoreType) -> str:
    """Return what one of the numbers is called."""
    return "probability" if values == "probabilities" else "score"


def describe_sampling(sampling: SamplingRecord) -> str:
    """Return how clips are taken: `16 frames from a window of 32, one clip every 16 frames`."""
    frames = f"{sampling.frames} frames"
    if sampling.window != sampling.frames:
        frames += f" from a window of {sampling.window}" + (" frames" if isinstance(sampling.window, int) else "")
    if sampling.clips == 1:
        return f"{frames}, one clip from the middle of the video"
    if sampling.clips is not None:
        return f"{frames}, {count(sampling.clips, 'clip')} evenly spaced over the video"
    step = sampling.step
    apart = "frame" if step == 1 else count(step, "frame") if isinstance(step, int) else step
    return f"{frames}, one clip every {apart}"


def describe_values(output: str, values: ScoreType, *, softmax: bool) -> str:
    """Return what the printed numbers are."""
    how = f"softmax of {output}" if softmax else f"the output {output} as it is"
    return f"{values}: {how}, averaged over a video's clips"


class PredictPrinter:
    """Prints a run as it goes on: what decides the numbers, each clip when it is ready, each video when it is done.

    Args:
        console: where to.
        progress: what is taken off the terminal meanwhile.
    """

    def __init__(self, console: Console, progress: TerminalProgress) -> None:
        self._console, self._progress = console, progress
        self._values: ScoreType = "probabilities"
        self._clips = 0

    def print_head(self, run: PredictRun) -> None:
        """Print the model, the preprocessing, and how clips are taken."""
        self._values = run.head.values
        with self._progress.paused():
            for name, text in describe_run(run.head):
                print_field(name, text, self._console)
            print_notes(run.head.notes, self._console)

    def print_clip(self, source: str, clip: ClipPrediction) -> None:
        """Print one clip; before the first of a video, its name."""
        shown = clip.top[:CLIP_CLASSES]
        texts = zip(shown, format_values(shown, self._values), strict=True)
        classes = ", ".join(f"{entry.name} {text}" for entry, text in texts)
        with self._progress.paused():
            if not self._clips:
                self._console.print()
                print_title(source, "", self._console)
            self._console.print(plain(f"{clip.start:9.2f} s {clip.end:9.2f} s  {classes}"))
        self._clips += 1

    def print_result(self, result: VideoPrediction | VideoFailure) -> None:
        """Print one video's classes, after its clips; failures are for `print_end`."""
        if isinstance(result, VideoFailure):
            self._clips = 0
            return
        if not self._clips:  # they come with the result where other machines computed it
            for clip in result.per_clip:
                self.print_clip(result.source, clip)
        self._clips = 0
        with self._progress.paused():
            print_video(result, self._values, self._console)


def print_video(video: VideoPrediction, values: ScoreType, console: Console) -> None:
    """Print one video's classes."""
    console.print()
    print_title(video.source, f"  {describe_video(video)}", console)
    print_notes(video.notes, console)
    rows = zip((entry.name for entry in video.top), format_values(video.top, values), strict=True)
    print_rows(("class", unit_name(values)), (60,), rows, console)


def describe_video(video: VideoPrediction) -> str:
    """Return `15 clips, 250 frames of 640x272 at 25 fps`."""
    rate = f" at {video.fps:.4g} fps" if video.fps is not None else ""
    return f"{count(video.clips, 'clip')}, {count(video.frames, 'frame')} of {video.width}x{video.height}{rate}"


def print_end(result: PredictResult, console: Console) -> None:
    """Print the videos without a result, whose messages name them, how many were done, and how long it took."""
    console.print()
    for failure in result.failures:
        print_failed(failure.message, console)
    clips = sum(video.clips for video in result.videos)
    failed = len(result.failures)
    parts = [count_videos(len(result.videos), failed), count(clips, "clip")]
    parts += [f"{failed} failed"] if failed else []
    print_field("result", f"{', '.join(parts)}; took {result.seconds:.1f} s", console)


def count_videos(done: int, others: int) -> str:
    """Return `3 videos`, or `3 of 80 videos` where there are others, which failed or were done before."""
    return f"{done} of {count(done + others, 'video')}" if others else count(done, "video")


def predict_to_dict(result: PredictResult) -> dict[str, Any]:
    """Return everything that `predict` found; docs/reference/video-results.md describes the fields."""
    content = asdict(result)
    for video in content["videos"]:
        del video["previews"], video["timeline"]  # for pages only
        if not video["per_clip"]:
            del video["per_clip"]
    return {**content, "exit_code": result.exit_code}


def predict_to_csv(result: PredictResult) -> bytes:
    """Return a row for each video and rank, and before them one for each clip and rank where clips were asked for.

    The columns are `CSV_COLUMNS`; those of a clip are empty in a video's rows. UTF-8, lines ended by a newline. Names
    of videos and classes are as `csv_text` makes them.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for video in result.videos:
        for clip in video.per_clip:
            place = (clip.index, clip.first, clip.last, f"{clip.start:.6f}", f"{clip.end:.6f}")
            writer.writerows(_csv_rows(video.source, place, clip.top))
        writer.writerows(_csv_rows(video.source, ("",) * 5, video.top))
    return stream.getvalue().encode()


def _csv_rows(source: str, place: Sequence[object], top: Iterable[ClassScore]) -> Iterator[tuple[object, ...]]:
    for rank, entry in enumerate(top, start=1):
        yield csv_text(source), *place, rank, entry.index, csv_text(entry.name), repr(entry.value)


def format_values(top: Sequence[ClassScore], values: ScoreType) -> tuple[str, ...]:
    """Return probabilities with four decimals, and scores with five digits."""
    if values == "probabilities":
        return tuple(f"{entry.value:.4f}" for entry in top)
    return format_scores([entry.value for entry in top])
