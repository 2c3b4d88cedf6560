"""What predict found, for people, programs and tables."""

import csv
import io
import json
from dataclasses import replace

from rich.console import Console

from exporter.inference.predictions import (
    ClassScore,
    ClipPrediction,
    ModelRecord,
    PredictResult,
    PreviewFrame,
    SamplingRecord,
    ScoreType,
    VideoFailure,
    VideoPrediction,
)
from exporter.reports.console import TerminalProgress
from exporter.reports.json_report import dump
from exporter.reports.predict import (
    PredictPrinter,
    describe_sampling,
    describe_values,
    predict_to_csv,
    predict_to_dict,
    print_end,
)

TOP = (ClassScore(3, "Biking, [bold]fast", 0.75), ClassScore(0, "Archery\x1b[2J", 0.25))
CLIP = ClipPrediction(0, 0, 15, 0.0, 0.64, 0, TOP)
VIDEO = VideoPrediction(
    "a, b.mp4", 1, TOP, (CLIP,), 64, 48, 25.0, 16, 0.64, ("a note",), (PreviewFrame(0, 0.32, 1, 1, b"abc"),)
)
RESULT = PredictResult(
    ModelRecord("m.onnx", "ab" * 32, "onnxruntime 1.32.0 (cpu)", "C3D", (16, 112, 112), "jfzhang95", False, "BGR"),
    SamplingRecord(16, 16, 8, None, "repeat"),
    "logits",
    "probabilities",
    True,
    "probabilities",
    (VIDEO,),
    (VideoFailure("c.mp4", "c.mp4: not a video", 3),),
    ("a note",),
    1.5,
)


def printed(result: PredictResult, *, streamed: bool = True) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    printer = PredictPrinter(console, TerminalProgress(None))
    for video in result.videos:
        for clip in video.per_clip if streamed else ():
            printer.print_clip(video.source, clip)
        printer.print_result(video)
    print_end(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_clips_classes_failures_and_no_escape_sequences() -> None:
    text = printed(RESULT)
    assert "a, b.mp4  1 clip, 16 frames of 64x48 at 25 fps" in text
    assert "0.00 s      0.64 s  Biking, [bold]fast 0.7500" in text
    assert "c.mp4: not a video" in text
    assert "1 of 2 videos, 1 clip, 1 failed" in text
    assert "\x1b" not in text


def test_clips_that_come_with_the_result_are_printed_once() -> None:
    two = replace(RESULT, videos=(VIDEO, VIDEO))
    assert printed(two, streamed=False) == printed(two)
    assert printed(two).count("0.64 s") == 2


def test_the_json_object() -> None:
    content = json.loads(dump(predict_to_dict(RESULT)))
    assert {*content} == {
        "model",
        "sampling",
        "output",
        "values",
        "softmax",
        "average",
        "videos",
        "failures",
        "notes",
        "seconds",
        "exit_code",
    }
    (video,) = content["videos"]
    assert video["top"][0] == {"index": 3, "name": "Biking, [bold]fast", "value": 0.75}
    assert video["per_clip"][0]["end"] == 0.64
    assert "previews" not in video
    assert content["failures"] == [{"source": "c.mp4", "message": "c.mp4: not a video", "exit_code": 3}]
    assert content["exit_code"] == 3
    assert content["model"]["sha256"] == "ab" * 32


def test_the_csv_rows() -> None:
    rows = list(csv.DictReader(io.StringIO(predict_to_csv(RESULT).decode())))
    assert [(row["video"], row["clip"], row["rank"], row["class_index"]) for row in rows] == [
        ("a, b.mp4", "0", "1", "3"),
        ("a, b.mp4", "0", "2", "0"),
        ("a, b.mp4", "", "1", "3"),
        ("a, b.mp4", "", "2", "0"),
    ]
    assert (rows[0]["start_s"], rows[0]["end_s"], rows[2]["start_s"]) == ("0.000000", "0.640000", "")
    assert [float(row["value"]) for row in rows] == [0.75, 0.25, 0.75, 0.25]
    assert rows[0]["class_name"] == "Biking, [bold]fast"


def test_a_check_that_failed_decides_the_exit_code() -> None:
    failures = (VideoFailure("c", "c", 3), VideoFailure("d", "d", 1))
    assert replace(RESULT, failures=failures).exit_code == 1
    assert replace(RESULT, failures=()).exit_code == 0


def test_how_clips_are_taken_in_words() -> None:
    assert describe_sampling(SamplingRecord(16, 16, 8, None, "repeat")) == "16 frames, one clip every 8 frames"
    assert describe_sampling(SamplingRecord(16, 16, 1, None, "repeat")) == "16 frames, one clip every frame"
    assert describe_sampling(SamplingRecord(16, "1s", "2s", None, "repeat")) == (
        "16 frames from a window of 1s, one clip every 2s"
    )
    assert describe_sampling(SamplingRecord(16, 16, None, 1, "repeat")) == (
        "16 frames, one clip from the middle of the video"
    )
    assert describe_sampling(SamplingRecord(16, 31, None, 10, "repeat")) == (
        "16 frames from a window of 31 frames, 10 clips evenly spaced over the video"
    )


def test_what_the_numbers_are_in_words() -> None:
    every: tuple[tuple[ScoreType, bool], ...] = (("scores", False), ("probabilities", True), ("probabilities", False))
    assert [describe_values("y", values, softmax=softmax).split(",")[0] for values, softmax in every] == [
        "scores: the output y as it is",
        "probabilities: softmax of y",
        "probabilities: the output y as it is",
    ]
