"""From videos to ranked classes, against frames by PyAV, resizing by OpenCV and the network in float64."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from helpers.colour_videos import write_colours
from helpers.profile_origins import ORIGINS
from helpers.small_video_model import NARROW, PROFILE, SmallVideoModel, softmax
from helpers.videos import Frames, decode_with_ffmpeg, needs_ffmpeg
from numpy.typing import NDArray

from exporter.errors import BadInputError, UsageError
from exporter.inference.model import VideoModel
from exporter.inference.predictions import PredictRequest, VideoFailure, VideoPrediction
from exporter.inference.types import ClipOptions, InferenceOptions
from exporter.requests import ExportRequest
from exporter.types import FormatName
from exporter.video.sampling import Seconds
from exporter.workflows.export import export
from exporter.workflows.predict import choose_ranking, iter_predictions, open_predict, predict
from models.builder import build
from models.preprocessing.profiles import JFZHANG95
from models.preprocessing.recipe import Preprocessing
from models.specs import OutputSpec

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"
INFERENCE = InferenceOptions(preprocess=PROFILE)
TOLERANCE = 1e-4
"""Of a probability: float32 arithmetic on clips whose values reach 165."""


def request(model: Path, *videos: Path, step: int = 8, **more: object) -> PredictRequest:
    return replace(PredictRequest(model, videos, INFERENCE, ClipOptions(step=step), top=5), **more)


def values(video: VideoPrediction) -> dict[int, float]:
    return {entry.index: entry.value for entry in video.top}


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_video_gets_the_mean_of_its_clips_probabilities(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], kind: str
) -> None:
    result = predict(request(getattr(small_video_model, kind), *short_videos, per_clip=True))
    assert (result.values, result.average, result.output, result.exit_code) == ("probabilities",) * 2 + ("logits", 0)
    for video, path, starts in zip(result.videos, short_videos, ((0, 8, 16, 24), (0, 8, 16)), strict=True):
        expected = small_video_model.probabilities(path, starts)
        assert video.source == str(path)
        assert video.clips == len(starts)
        assert values(video) == pytest.approx(dict(enumerate(expected.mean(axis=0))), abs=TOLERANCE)
        assert [entry.value for entry in video.top] == sorted(values(video).values(), reverse=True)
        for clip, row in zip(video.per_clip, expected, strict=True):
            assert {entry.index: entry.value for entry in clip.top} == pytest.approx(
                dict(enumerate(row)), abs=TOLERANCE
            )
    clip = result.videos[0].per_clip[1]
    assert (clip.first, clip.last, clip.start, clip.end) == (8, 23, 8 / 25, 24 / 25)


def test_files_beside_the_videos_of_a_folder_are_named(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    write_colours(tmp_path / "a.mkv", 16)
    (tmp_path / "labels.csv").touch()
    result = predict(request(small_video_model.onnx, tmp_path))
    assert [video.source for video in result.videos] == [str(tmp_path / "a.mkv")]
    assert any(
        note.startswith(f"{tmp_path}: 1 file without the suffix of videos left out: lab") for note in result.notes
    )


def test_scores_that_a_model_does_not_return_are_not_averaged() -> None:
    outputs = (OutputSpec("p", (5,), "probabilities"),)
    profile = replace(JFZHANG95, average="scores")
    model = SimpleNamespace(outputs=outputs, preprocessing=profile, path=Path("m.onnx"), class_names=None)
    with pytest.raises(UsageError, match="^--average scores: m.onnx returns no scores before softmax, only prob"):
        choose_ranking(cast(VideoModel, model), PredictRequest("m.onnx", ("v.mp4",), average="scores"))
    ranking = choose_ranking(cast(VideoModel, model), PredictRequest("m.onnx", ("v.mp4",)))
    assert (ranking.output, ranking.values, ranking.average) == ("p", "probabilities", "probabilities")


def test_scores_are_averaged_as_they_are(small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]) -> None:
    result = predict(request(small_video_model.onnx, short_videos[0], average="scores"))
    expected = small_video_model.logits(short_videos[0], (0, 8, 16, 24)).mean(axis=0)
    assert (result.values, result.average) == ("scores", "scores")
    assert values(result.videos[0]) == pytest.approx(dict(enumerate(expected)), rel=1e-4, abs=1e-3)


def test_an_output_of_probabilities_gets_no_second_softmax(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    export(ExportRequest(("onnx",), NARROW, ("fc6", "probabilities"), output_dir=tmp_path, verify=False))
    result = predict(request(tmp_path / "c3d.onnx", short_videos[0]))
    expected = small_video_model.probabilities(short_videos[0], (0, 8, 16, 24)).mean(axis=0)
    assert result.output == "probabilities"
    assert values(result.videos[0]) == pytest.approx(dict(enumerate(expected)), abs=TOLERANCE)


def test_batches_and_threads_change_nothing(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]
) -> None:
    base = request(small_video_model.onnx, *short_videos)
    one = predict(base)
    many = predict(replace(base, inference=replace(INFERENCE, batch=5, threads=1)))
    assert [video.clips for video in one.videos] == [video.clips for video in many.videos] != [0, 0]
    for first, second in zip(one.videos, many.videos, strict=True):
        assert values(first) == pytest.approx(values(second), abs=1e-5)


def test_windows_and_steps_in_seconds(small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]) -> None:
    # 32 frames of 0.04 s, of which every second is taken
    clips = ClipOptions(window=Seconds(Fraction(32, 25)), step=Seconds(Fraction(8, 25)))
    result = predict(request(small_video_model.onnx, short_videos[0], clips=clips))
    expected = small_video_model.probabilities(short_videos[0], (0, 8), step=2).mean(axis=0)
    assert result.videos[0].clips == 2
    assert values(result.videos[0]) == pytest.approx(dict(enumerate(expected)), abs=TOLERANCE)
    assert (result.sampling.window, result.sampling.step) == ("1.28s", "0.32s")


def test_top_and_class_names(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    named = replace(INFERENCE, labels=tmp_path / "labels.txt")
    result = predict(request(small_video_model.onnx, short_videos[0], top=2, inference=named))
    expected = small_video_model.probabilities(short_videos[0], (0, 8, 16, 24)).mean(axis=0)
    order = np.argsort(-expected)[:2]
    assert [(entry.index, entry.name) for entry in result.videos[0].top] == [(int(i), "abcde"[i]) for i in order]
    bare = predict(request(small_video_model.onnx, short_videos[0], top=1))
    assert bare.videos[0].top[0].name == f"class {order[0]}"


def test_broken_videos_are_failures_and_the_others_are_done(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty"
    text.write_text("no video")
    empty.mkdir()
    result = predict(request(small_video_model.onnx, text, short_videos[0], empty, tmp_path / "none.mp4"))
    assert [video.source for video in result.videos] == [str(short_videos[0])]
    assert {failure.source for failure in result.failures} == {str(text), str(empty), str(tmp_path / "none.mp4")}
    assert {failure.exit_code for failure in result.failures} == {3} == {result.exit_code}
    assert all(failure.source in failure.message and "\n" not in failure.message for failure in result.failures)


def test_a_video_shorter_than_a_clip(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    video = write_colours(tmp_path / "short.mkv", 5)
    for short in ("repeat", "pad"):
        result = predict(request(small_video_model.onnx, video, per_clip=True, clips=ClipOptions(short=short)))
        assert [clip.repeated for clip in result.videos[0].per_clip] == [11]
    result = predict(request(small_video_model.onnx, video, clips=ClipOptions(short="skip")))
    assert result.exit_code == 3
    assert "shorter than one clip (5 frames)" in result.failures[0].message


def test_a_network_that_returns_nan(short_videos: tuple[Path, Path], tmp_path: Path) -> None:
    built = build(NARROW)
    built.network.get_parameter("fc8.bias").data[2] = float("nan")
    export(ExportRequest(("onnx",), built, output_dir=tmp_path, name="nan", verify=False))
    result = predict(request(tmp_path / "nan.onnx", *short_videos))
    assert result.videos == ()
    assert [failure.exit_code for failure in result.failures] == [1, 1]
    assert result.exit_code == 1
    assert "returns NaN or an infinity in logits for the clip at 0.00 s" in result.failures[0].message


def test_results_come_one_by_one_and_may_be_left(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]
) -> None:
    results = iter_predictions(request(small_video_model.onnx, *short_videos, *short_videos))
    first = next(results)
    assert isinstance(first, VideoPrediction)
    results.close()


def test_previews_are_few_and_only_on_request(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]
) -> None:
    result = predict(request(small_video_model.onnx, short_videos[0], step=4, previews=3))
    frames = result.videos[0].previews
    assert 2 <= len(frames) <= 3
    assert all(len(frame.pixels) == frame.width * frame.height * 3 for frame in frames)
    assert predict(request(small_video_model.onnx, short_videos[0])).videos[0].previews == ()


def test_the_record_of_a_result(small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]) -> None:
    result = predict(request(small_video_model.onnx, short_videos[0]))
    assert (result.model.preprocessing, result.sampling.step, result.sampling.frames) == (PROFILE, 8, 16)
    video = result.videos[0]
    assert (video.width, video.height, video.fps, video.frames) == (64, 48, 25, 40)
    assert result.seconds > 0


def test_requests_that_cannot_be_honoured(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    for wrong in (request(small_video_model.onnx), request(small_video_model.onnx, short_videos[0], top=0)):
        with pytest.raises(UsageError):
            predict(wrong)
    with pytest.raises(BadInputError, match="empty"):
        (tmp_path / "empty").mkdir()
        predict(request(small_video_model.onnx, tmp_path / "empty"))
    features = replace(INFERENCE, outputs=("fc6",))
    with pytest.raises(UsageError, match="c3d-export features"):
        predict(request(small_video_model.onnx, short_videos[0], inference=features))


def test_only_an_iterator_of_results(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    (failure,) = iter_predictions(request(small_video_model.onnx, tmp_path / "none.mp4"))
    assert isinstance(failure, VideoFailure)


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_preprocessing_inside_the_model(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path, kind: FormatName
) -> None:
    built = build(replace(NARROW, preprocess=PROFILE))
    export(ExportRequest((kind,), built, output_dir=tmp_path, name="m", with_preprocess=True, verify=False))
    path = tmp_path / {"onnx": "m.onnx", "torchscript": "m.pt"}[kind]
    batches = InferenceOptions(batch=3)  # the two videos have frames of two sizes
    result = predict(request(path, *short_videos, inference=batches))
    assert (result.model.preprocessing, result.model.preprocessing_inside) == (PROFILE, True)
    for video, source, starts in zip(result.videos, short_videos, ((0, 8, 16, 24), (0, 8, 16)), strict=True):
        expected = small_video_model.probabilities(source, starts).mean(axis=0)
        assert values(video) == pytest.approx(dict(enumerate(expected)), abs=TOLERANCE)
    with pytest.raises(UsageError, match="has its preprocessing inside"):
        predict(request(path, short_videos[0]))


def test_frames_of_one_pixel(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    video = write_colours(tmp_path / "dot.avi", 16, (1, 1))
    result = predict(request(small_video_model.onnx, video))
    expected = small_video_model.probabilities(video, (0,))[0]
    assert values(result.videos[0]) == pytest.approx(dict(enumerate(expected)), abs=TOLERANCE)


def test_clips_are_heard_when_they_are_ready(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path]
) -> None:
    heard: list[tuple[str, int]] = []
    wanted = request(small_video_model.onnx, *short_videos, per_clip=True)
    with open_predict(wanted, on_clip=lambda source, clip: heard.append((source, clip.index))) as run:
        first = next(iter(run))
    assert isinstance(first, VideoPrediction)
    assert heard == [(str(short_videos[0]), index) for index in range(4)]


TAKEN: dict[str, tuple[Sequence[int], int]] = {
    "caffe-sports1m": ((0, 16), 1),
    "mmaction2": ((0, 2, 4, 5, 7, 9, 11, 12, 14, 16), 1),  # 16 k / 9, rounded
    "gluoncv": ((0,), 2),
}
"""{profile: (the first frames of the clips that its origin takes of 32 frames, the distance of a clip's frames)}."""


@needs_ffmpeg
@pytest.mark.parametrize(("profile", "origin"), [row[:2] for row in ORIGINS if row[0].name in TAKEN], ids=[*TAKEN])
def test_a_real_video_by_the_profiles_of_three_origins(
    small_video_model: SmallVideoModel, profile: Preprocessing, origin: Callable[[Frames], NDArray[np.float64]]
) -> None:
    """Frames by the command line ffmpeg, the clip by the origin's library, the network in float64."""
    frames = decode_with_ffmpeg(BIKES, 272, 640).copy()  # torch wants memory that it may write
    starts, step = TAKEN[profile.name]
    clips = [origin(frames[start : start + 16 * step : step]).transpose(3, 0, 1, 2) for start in starts]
    expected = softmax(small_video_model.run(np.stack(clips))).mean(axis=0)
    inference = InferenceOptions(preprocess=profile.name)
    result = predict(PredictRequest(small_video_model.onnx, (BIKES,), inference))
    assert result.videos[0].clips == len(starts)
    assert values(result.videos[0]) == pytest.approx(dict(enumerate(expected)), abs=TOLERANCE)
