"""`predict --html`: the contents of the page; the templates decide how it looks.

A page is bounded, whatever it is made of: so many videos in full, so many in a list, so many frames and points of each.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from exporter.reports.axes import format_time
from exporter.reports.charts import Series, bar_chart, dot_chart
from exporter.reports.formatting import replace_invisible
from exporter.reports.html import Row, Table, render, thumbnails
from exporter.reports.predict import describe_run, describe_video, format_values, unit_name
from exporter.reports.time_chart import TimeSpan, time_chart
from exporter.results import PreviewFrames
from models.errors import count
from models.text import visible

if TYPE_CHECKING:
    from markupsafe import Markup

    from exporter.inference.predictions import PredictResult, ScoreType, VideoPrediction

MAX_VIDEOS = 50
"""Videos shown with frames and charts."""
MAX_LISTED = 1000
"""Videos in the list."""
MAX_CLIPS = 200
"""Clips of a video in its table."""
CHART_CLASSES, CLIP_CLASSES = 5, 3
"""Classes in the chart over time, and of each clip in the table."""


def predict_page(result: PredictResult, made: datetime | None = None) -> str:
    """Return the page.

    Args:
        result: what `predict` found, with the previews and timelines of the videos to show.
        made: the date on the page; None for now.
    """
    shown = _shown(result)
    single = len(result.videos) + len(result.failures) == 1
    context: dict[str, Any] = {
        "title": f"{headline(result)}: classes" if single else headline(result),
        "headline": headline(result),
        "single": single,
        "failed": f"{count(len(result.failures), 'video')} failed",
        "notes": result.notes,
        "failures": _failures(result),
        "more_failures": _more_failures(result),
        "overview": _overview(result) if len(result.videos) > 1 else None,
        "omitted": _omitted(result),
        "videos": [
            _section(video, name, result.values, inside=result.model.preprocessing_inside)
            for name, video in shown.items()
        ],
        "facts": _facts(result),
    }
    return render("predict.html.jinja", context, made)


def _shown(result: PredictResult) -> dict[str, VideoPrediction]:
    """Return {id: video} of those that have a section: the first ones, as far as `predict` kept frames of them."""
    numbered = enumerate(result.videos, start=1)
    shown = [(f"v{number}", video) for number, video in numbered if video.previews or video.timeline]
    return dict(shown[:MAX_VIDEOS])


def headline(result: PredictResult) -> str:
    """Return the result as a sentence."""
    done, failed = len(result.videos), len(result.failures)
    if done == 1 and not failed:
        (video,) = result.videos
        (value,) = format_values(video.top[:1], result.values)
        return f"{_short(video.source)}: {video.top[0].name}, {value}"
    if not done:
        return "No video has a result"
    if failed:
        return f"{done} of {done + failed} videos {'has' if done == 1 else 'have'} a result"
    return count(done, "video")


def _section(video: VideoPrediction, name: str, values: ScoreType, *, inside: bool) -> dict[str, Any]:
    """Return the variables of one video's section.

    Args:
        video: its result.
        name: the ids in the section begin with it.
        values: what the numbers are.
        inside: whether the model does the preprocessing itself, so that the frames are not yet resized and cropped.
    """
    frames, size = _frames(video)
    unit = unit_name(values)
    texts = format_values(video.top, values)
    names = ", ".join(f"{entry.name} {text}" for entry, text in zip(video.top, texts, strict=True))
    rows = tuple(
        Row((str(rank), entry.name, str(entry.index), text))
        for rank, (entry, text) in enumerate(zip(video.top, texts, strict=True), start=1)
    )
    timeline, timeline_caption = _timeline(video, name, values)
    return {
        "id": name,
        "title": video.source,
        "about": describe_video(video) + (f", {format_time(video.duration)}" if video.duration else ""),
        "notes": video.notes,
        "frames": frames,
        "film": _film(video, inside=inside),
        "size": size,
        "ranking": _ranking(video, name, values, f"Highest classes of {video.source}: {names}."),
        "ranking_caption": f"The highest classes: {unit}, averaged over {count(video.clips, 'clip')}.",
        "timeline": timeline,
        "timeline_caption": timeline_caption,
        "table": Table(
            f"{name}-table", f"Highest classes of {video.source}", ("rank", "class", "index", unit), rows, (2, 3)
        ),
        "clips": _clips(video, f"{name}-clips", values),
        "more_clips": f"The first {MAX_CLIPS} of {video.clips} clips; --csv writes all."
        * (len(video.per_clip) > MAX_CLIPS),
    }


def _ranking(video: VideoPrediction, name: str, values: ScoreType, description: str) -> Markup:
    """Return the chart of the highest classes: bars of probabilities, dots of scores, which may be negative."""
    labels = [entry.name for entry in video.top]
    series = [Series("", tuple(entry.value for entry in video.top))]
    if values == "probabilities":
        return bar_chart(
            labels,
            series,
            name=f"{name}-ranking",
            axis="probability",
            description=description,
            format_value=lambda value: f"{value:.4f}",
        )
    return dot_chart(labels, series, name=f"{name}-ranking", axis="score", description=description, log=False)


def _timeline(video: VideoPrediction, name: str, values: ScoreType) -> tuple[Markup | str, str]:
    """Return the chart of the highest classes over time and its caption; empty for a single point."""
    if len(video.timeline) < 2:
        return "", ""
    labels = [entry.name for entry in video.top[:CHART_CLASSES]]
    spans = [TimeSpan(point.start, point.end, point.values[: len(labels)]) for point in video.timeline]
    every = [value for span in spans for value in span.values]
    bottom, top = (0.0, 1.0) if values == "probabilities" else (min(0.0, *every), max(every))
    top = top if top > bottom else bottom + 1
    peaks = [max(range(len(spans)), key=lambda index: spans[index].values[row]) for row in range(len(labels))]
    described = "; ".join(
        f"{label} is highest at {format_time(spans[peak].start)}" for label, peak in zip(labels, peaks, strict=True)
    )
    chart = time_chart(
        labels,
        spans,
        name=f"{name}-time",
        top=top,
        bottom=bottom,
        description=f"The highest classes of {video.source} over time: {described}.",
    )
    merged = max(point.clips for point in video.timeline)
    of = f"of {merged} clips each, averaged" if merged > 1 else "of each clip"
    return chart, f"The {unit_name(values)} {of}. Every row has the same scale, from {bottom:.3g} to {top:.3g}."


def _frames(video: VideoPrediction) -> tuple[tuple[str, ...], tuple[int, int]]:
    if not video.previews:
        return (), (0, 0)
    first = video.previews[0]
    pixels = tuple(frame.pixels for frame in video.previews)
    return thumbnails(PreviewFrames(video.source, first.width, first.height, pixels, ()))


def _film(video: VideoPrediction, *, inside: bool) -> str:
    times = ", ".join(format_time(frame.seconds) for frame in video.previews)
    seen = "before the model resizes and crops them" if inside else "as the network sees them"
    return f"The middle frames of {count(len(video.previews), 'clip')}, {seen}: at {times}."


def _clips(video: VideoPrediction, name: str, values: ScoreType) -> Table:
    rows: list[Row] = []
    for clip in video.per_clip[:MAX_CLIPS]:
        texts = format_values(clip.top[:CLIP_CLASSES], values)
        classes = ", ".join(f"{entry.name} {text}" for entry, text in zip(clip.top, texts, strict=False))
        rows.append(Row((str(clip.index), f"{clip.start:.2f}", f"{clip.end:.2f}", classes)))
    headings = ("clip", "start (s)", "end (s)", "highest classes")
    return Table(name, f"Clips of {video.source}", headings, tuple(rows), (1, 2))


def _overview(result: PredictResult) -> Table:
    """Return the list of videos; the first ones link to their sections."""
    from markupsafe import Markup

    shown = _shown(result)
    rows: list[Row] = []
    for number, video in enumerate(result.videos[:MAX_LISTED], start=1):
        name, target = replace_invisible(video.source), f"v{number}"
        linked = Markup('<a href="#{}">{}</a>').format(target, name) if target in shown else name
        (value,) = format_values(video.top[:1], result.values)
        rows.append(Row((linked, video.top[0].name, value, str(video.clips))))
    unit = unit_name(result.values)
    return Table(
        "overview-table", "The highest class of each video", ("video", "class", unit, "clips"), tuple(rows), (2, 3)
    )


def _omitted(result: PredictResult) -> str:
    total, shown = len(result.videos), len(_shown(result))
    parts = [f"Frames and charts of {shown} of the {total} videos are below."] if total > shown else []
    parts += [f"The list has the first {MAX_LISTED}; --csv writes all."] if total > MAX_LISTED else []
    return " ".join(parts)


def _more_failures(result: PredictResult) -> str:
    total = len(result.failures)
    return f"The first {MAX_LISTED} of {total}." if total > MAX_LISTED else ""


def _failures(result: PredictResult) -> tuple[tuple[str, str], ...]:
    shown = result.failures[:MAX_LISTED]
    return tuple((failure.source, failure.message.removeprefix(visible(f"{failure.source}: "))) for failure in shown)


def _facts(result: PredictResult) -> tuple[tuple[str, str], ...]:
    run = dict(describe_run(result))
    return (
        ("Model", run["model"]),
        ("SHA-256 of the model", result.model.sha256),
        ("Preprocessing", run["profile"]),
        *((("SHA-256 of the mean", result.model.mean),) if result.model.mean else ()),
        ("Clips", run["clips"]),
        ("Values", run["values"]),
        ("Time", f"{result.seconds:.1f} s"),
    )


def _short(source: str) -> str:
    """Return the last part of a path or an address."""
    return source.rstrip("/").rpartition("/")[2] or source
