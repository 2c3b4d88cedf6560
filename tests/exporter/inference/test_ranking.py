"""From outputs to ranked classes."""

from itertools import pairwise

import numpy as np
import pytest

from exporter.errors import CheckFailedError, UsageError, VideoError
from exporter.inference.predictions import ClassScore, ScoreType, VideoFailure, VideoPrediction
from exporter.inference.ranking import ClassRanking, Timeline, VideoScores, choose_ranked_output
from exporter.inference.types import ClipOutputs, VideoEnd
from models.specs import OutputKind, OutputSpec

LOGITS = np.array([[1.0, 3.0, 2.0, 0.0], [4.0, 0.0, 0.0, 1.0]], np.float32)
SOFTMAX = np.exp(LOGITS.astype(np.float64)) / np.exp(LOGITS.astype(np.float64)).sum(axis=1, keepdims=True)


def video(
    average: ScoreType = "probabilities", kind: OutputKind = "scores", names: tuple[str, ...] | None = None, **more: int
) -> VideoPrediction:
    scores = VideoScores(ClassRanking("logits", kind, average, names, top=2, per_clip=True, **more))
    for index, row in enumerate(LOGITS):
        preview = np.full((2, 3, 3), index, np.uint8)
        scores.add(ClipOutputs(index, 0, 15, index * 1.0, index + 1.0, 0, "v", 0, {"logits": row}, preview))
    result = scores.finish(VideoEnd("v", 0, 2, 64, 48, 25.0, 32, 1.28, ("a note",)))
    assert isinstance(result, VideoPrediction)
    return result


def test_probabilities_are_averaged_over_clips() -> None:
    result = video(names=("a", "b", "c", "d"))
    mean = SOFTMAX.mean(axis=0)
    assert [(entry.index, entry.name) for entry in result.top] == [(0, "a"), (1, "b")]
    assert [entry.value for entry in result.top] == pytest.approx([mean[0], mean[1]], rel=1e-12)
    assert [[entry.index for entry in clip.top] for clip in result.per_clip] == [[1, 2], [0, 3]]
    assert result.per_clip[0].top[0].value == pytest.approx(SOFTMAX[0, 1], rel=1e-12)
    assert (result.clips, result.notes, result.fps) == (2, ("a note",), 25.0)


def test_scores_are_averaged_as_they_are() -> None:
    assert video("scores").top == (ClassScore(0, "class 0", 2.5), ClassScore(1, "class 1", 1.5))


def test_probabilities_get_no_second_softmax() -> None:
    assert [entry.value for entry in video(kind="probabilities").top] == [2.5, 1.5]
    assert ClassRanking("p", "probabilities", "scores", None).values == "probabilities"
    assert ClassRanking("p", "scores", "scores", None).values == "scores"


def test_of_equal_classes_the_first_comes_first() -> None:
    """Of a hundred, because NumPy's default sort keeps the order of a few."""
    ranking = ClassRanking("p", "scores", "scores", None, top=60)
    values = np.tile([1.0, 2.0], 50)
    assert [entry.index for entry in ranking.rank(values)] == [*range(1, 100, 2), *range(0, 20, 2)]


def test_large_logits_do_not_overflow() -> None:
    ranking = ClassRanking("p", "scores", "probabilities", None)
    assert ranking.convert(np.array([1000.0, 0.0], np.float32)).tolist() == [1.0, 0.0]


def test_a_video_that_failed() -> None:
    scores = VideoScores(ClassRanking("logits", "scores", "probabilities", None))
    scores.add(ClipOutputs(0, 0, 15, 0.0, 1.0, 0, "v", 0, {"logits": LOGITS[0]}))
    assert scores.finish(VideoEnd("v", 0, 1, error=VideoError("v: broken"))) == VideoFailure("v", "v: broken", 3)
    assert scores.finish(VideoEnd("v", 0, 1, error=CheckFailedError("v: NaN"))) == VideoFailure("v", "v: NaN", 1)


def test_a_video_without_a_clip() -> None:
    end = VideoEnd("v", 0, 0, frames=3, notes=("shorter than one clip (3 frames): skipped",))
    failure = VideoScores(ClassRanking("logits", "scores", "probabilities", None)).finish(end)
    assert isinstance(failure, VideoFailure)
    assert failure.exit_code == 3
    assert "v: shorter than one clip" in failure.message


@pytest.mark.parametrize("clips", [1, 4, 5, 9, 100])
def test_previews_stay_evenly_spaced_and_few(clips: int) -> None:
    scores = VideoScores(ClassRanking("logits", "scores", "probabilities", None, previews=4))
    for index in range(clips):
        preview = np.full((2, 3, 3), index, np.uint8)
        scores.add(ClipOutputs(index, 0, 15, index * 1.0, index + 1.0, 0, "v", 0, {"logits": LOGITS[0]}, preview))
    result = scores.finish(VideoEnd("v", 0, clips))
    assert isinstance(result, VideoPrediction)
    kept = [frame.clip for frame in result.previews]
    assert 1 <= len(kept) <= 4
    assert len(kept) > 2 or clips < 4
    assert len({after - before for before, after in pairwise(kept)}) <= 1
    assert [frame.pixels for frame in result.previews] == [bytes([number]) * 18 for number in kept]
    assert result.previews[0].seconds == 0.5


def test_the_ranked_output() -> None:
    fc6, logits = OutputSpec("fc6", (8,), "features"), OutputSpec("logits", (4,))
    assert choose_ranked_output((fc6, logits), "m.onnx") is logits
    with pytest.raises(UsageError, match=r"^m.onnx returns no class scores \(fc6\)"):
        choose_ranked_output((fc6,), "m.onnx")


def test_the_average_of_scores_takes_an_output_of_scores() -> None:
    probabilities, logits = OutputSpec("probabilities", (4,), "probabilities"), OutputSpec("logits", (4,))
    assert choose_ranked_output((probabilities, logits), "m.onnx") is probabilities
    assert choose_ranked_output((probabilities, logits), "m.onnx", "scores") is logits
    assert choose_ranked_output((probabilities,), "m.onnx", "scores") is probabilities


def test_large_frames_are_kept_small() -> None:
    scores = VideoScores(ClassRanking("logits", "scores", "probabilities", None, previews=2))
    frame = np.arange(1080 * 1920 * 3, dtype=np.uint8).reshape(1080, 1920, 3)
    scores.add(ClipOutputs(0, 0, 15, 0.0, 1.0, 0, "v", 0, {"logits": LOGITS[0]}, frame))
    result = scores.finish(VideoEnd("v", 0, 1))
    assert isinstance(result, VideoPrediction)
    (kept,) = result.previews
    assert (kept.width, kept.height) == (320, 180)
    assert kept.pixels == frame[::6, ::6].tobytes()


def test_a_timeline_comes_with_previews_only() -> None:
    assert video().timeline == ()
    made = video(previews=1).timeline
    assert [(point.start, point.end, point.clips) for point in made] == [(0.0, 1.0, 1), (1.0, 2.0, 1)]
    top = [entry.index for entry in video().top]
    assert [point.values for point in made] == [pytest.approx(tuple(row[top]), rel=1e-6) for row in SOFTMAX]


@pytest.mark.parametrize("clips", [1, 7, 8, 9, 16, 17, 100, 1000])
def test_points_are_averages_of_clips_that_follow_one_another(clips: int) -> None:
    values = np.random.default_rng(clips).random((clips, 5))
    timeline = Timeline(max_points=8)
    for index, row in enumerate(values):
        timeline.add(index * 0.5, index * 0.5 + 0.64, row)
    points = timeline.points([3, 0])
    assert len(points) <= 8
    assert sum(point.clips for point in points) == clips
    first = 0
    for point in points:
        own = values[first : first + point.clips]
        assert point.values == pytest.approx(own.mean(0)[[3, 0]])
        assert (point.start, point.end) == (first * 0.5, (first + point.clips - 1) * 0.5 + 0.64)
        first += point.clips
    assert len({point.clips for point in points[:-1]}) <= 1  # evenly long, the last one aside


def test_the_values_that_were_given_stay_as_they_are() -> None:
    values = np.ones(3)
    timeline = Timeline(max_points=2)
    for index in range(5):
        timeline.add(index, index + 1, values)
    assert values.tolist() == [1, 1, 1]
    assert [point.values for point in timeline.points([0])] == [(1.0,), (1.0,)]


def test_an_odd_number_of_points_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        Timeline(max_points=3)
