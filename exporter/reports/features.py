"""What `features` wrote, on a terminal or in a pipe, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exporter.reports.console import print_failed, print_field, print_notes, print_text, print_wrote
from exporter.reports.predict import count_videos, describe_inputs
from exporter.storage import join
from models.errors import count

if TYPE_CHECKING:
    from exporter.inference.features.types import FeaturesResult, VideoFeatureFiles
    from exporter.inference.predictions import VideoFailure
    from exporter.workflows.features import FeatureRun

AGGREGATE_NAMES = {
    "clips": "one for each clip",
    "mean": "one for each video: the mean over its clips, with Euclidean norm 1",
    "segments": "32 for each video: the mean over a segment's clips, with Euclidean norm 1 (Sultani et al.)",
    "segments-ekosman": "32 for each video: the mean over a segment's clips, with Euclidean norm 1 (ekosman's port)",
}


def print_head(run: FeatureRun, console: Console) -> None:
    """Print the model, the preprocessing, the layers and how clips are taken: known before the first video."""
    layers = ", ".join(f"{name} ({'x'.join(map(str, shape))})" for name, shape in run.head.layers.items())
    for name, text in (*describe_inputs(run.head), ("layer", layers), ("rows", AGGREGATE_NAMES[run.head.aggregate])):
        print_field(name, text, console)
    print_notes(run.head.notes, console)
    if run.kept:
        print_field("resumed", f"{run.kept} of {count(run.total, 'video')} done by an earlier run", console)
    console.print()


def print_video(video: VideoFeatureFiles | VideoFailure, console: Console) -> None:
    """Print a video whose features are complete; those of earlier runs are counted only, failures come at the end."""
    from exporter.inference.features.types import VideoFeatureFiles

    if not isinstance(video, VideoFeatureFiles) or video.kept:
        return
    made = f"{count(video.rows, 'row')} of {count(video.clips, 'clip')}" if video.rows != video.clips else ""
    files = f" in {', '.join(video.files)}" if video.files else ""
    print_text(f"{video.source}  {made or count(video.clips, 'clip')}{files}", console)
    print_notes(video.notes, console)


def print_end(result: FeaturesResult, console: Console) -> None:
    """Print the videos without features, whose messages name them, and how many were done."""
    for failure in result.failures:
        print_failed(failure.message, console)
    for file in result.files:
        print_wrote(join(result.output, file), "", console)
    done = [video for video in result.videos if not video.kept]
    kept = len(result.videos) - len(done)
    failed = len(result.failures)
    parts = [count_videos(len(done), kept + failed), count(sum(video.clips for video in done), "clip")]
    parts += [f"{kept} done before"] if kept else []
    parts += [f"{failed} failed"] if failed else []
    print_field("result", f"{', '.join(parts)}, in {result.output}; took {result.seconds:.1f} s", console)


def features_to_dict(result: FeaturesResult) -> dict[str, Any]:
    """Return everything that `features` wrote; docs/how-to/features.md describes the fields."""
    return {**asdict(result), "exit_code": result.exit_code}
