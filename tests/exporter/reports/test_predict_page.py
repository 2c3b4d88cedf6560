"""The page of `predict --html`. tests/exporter/reports/test_browser.py looks at it."""

import base64
import io
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.page import Page, assert_complete
from helpers.predict_results import FAILURE, HOSTILE, NAMES, hostile, result, video
from helpers.run import call
from PIL import Image

from exporter.inference.predictions import PredictResult
from exporter.reports.predict_page import MAX_CLIPS, MAX_VIDEOS, headline, predict_page

MADE = datetime(2026, 11, 24, 12, tzinfo=UTC)
BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"
CASES = {
    "one": result(video()),
    "several": result(video(), video("b/c.mp4", 1, frames=1), failures=(FAILURE,)),
    "none": result(failures=(FAILURE,)),
    "hostile": hostile(),
    "scores": replace(result(video()), values="scores"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_page_is_complete_and_loads_nothing_from_the_network(case: PredictResult) -> None:
    page = Page(predict_page(case, MADE))
    assert_complete(page)
    assert "Written 2026-11-24 12:00 UTC" in page.shown("footer")[0]
    page.source.encode()


def test_every_number_stands_in_a_table() -> None:
    texts = Page(predict_page(result(video(clips=2)), MADE)).shown("tbody")
    assert texts[:8] == ["1", "Biking", "10", "0.7312", "2", "HorseRiding", "11", "0.1204"]
    assert texts[-8:-4] == ["0", "0.00", "5.00", f"{NAMES[0]} 0.7312, {NAMES[1]} 0.1204, {NAMES[2]} 0.0511"]


def test_the_frames_are_small_pictures_of_what_the_network_saw() -> None:
    made = video(frames=3)
    sources = [image["src"] for image in Page(predict_page(result(made), MADE)).named("img")]
    assert len(sources) == 3
    for source, frame in zip(sources, made.previews, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
        assert (picture.size, picture.mode) == ((112, 112), "RGB")
        expected = np.frombuffer(frame.pixels, np.uint8).reshape(112, 112, 3)
        assert abs(np.asarray(picture, float).mean() - expected.mean()) < 2


def test_whole_frames_are_called_so_where_the_model_crops_them() -> None:
    case = CASES["one"]
    inside = replace(case, model=replace(case.model, preprocessing_inside=True))
    (film,) = [text for text in Page(predict_page(inside, MADE)).shown("p") if text.startswith("The middle frames")]
    assert "before the model resizes and crops them" in film
    assert "as the network sees them" in predict_page(case, MADE)


def test_the_charts_name_the_classes_the_values_and_the_time() -> None:
    page = Page(predict_page(result(video()), MADE))
    texts = page.shown("svg", "text")
    assert texts.count("Biking") == 2
    assert {"0.7312", "probability", "time in the video", "2 s"} <= set(texts)
    described = [image["aria-label"] for image in page.named("svg")]
    assert "Biking 0.7312" in described[0]
    assert "Biking is highest at 2.7 s" in described[1]  # clip 4 of 15 in 10 s: the peak of the sine


def test_a_video_of_one_clip_has_no_chart_over_time() -> None:
    page = Page(predict_page(result(video(clips=1, frames=1)), MADE))
    assert len(page.named("svg")) == 1


def test_broken_videos_are_named_first_with_the_reason() -> None:
    page = Page(predict_page(CASES["several"], MADE))
    assert page.shown("header") == ["Classes of videos", "✗", "1 video failed", "2 of 3 videos have a result"]
    assert (page.shown("dt")[0], page.shown("dd")[0]) == ("videos/broken.mp4", "no video stream")


def test_the_headline() -> None:
    assert headline(CASES["one"]) == "bikes.mp4: Biking, 0.7312"
    assert headline(CASES["none"]) == "No video has a result"


def test_how_it_was_made() -> None:
    page = Page(predict_page(CASES["one"], MADE))
    shown = page.shown("dd")
    assert "artifacts/c3d.onnx in onnxruntime 1.32.0 on the CPU, C3D, 101 classes" in shown
    assert {"Model", "Preprocessing", "Clips", "Values", "Time"} <= {*page.shown("dt")}
    assert "ab" * 32 in shown
    assert "16 frames, one clip every 16 frames" in shown


def test_names_are_escaped_and_kept() -> None:
    page = Page(predict_page(hostile(), MADE))
    assert "<script" not in page.source
    assert HOSTILE.replace("\u202e", "\ufffd").replace("\x07", "\ufffd").replace("\udcff", "\ufffd") in page.shown("h2")


def test_the_page_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    one = video(clips=4, frames=1)
    plain = replace(one, previews=(), timeline=())  # as `predict` returns the videos after the first ones
    monkeypatch.setattr("exporter.reports.predict_page.MAX_VIDEOS", 2)
    many = Page(predict_page(result(*[one] * 3, *[plain] * 2000), MADE))
    assert len(many.named("img")) == 2
    assert len(many.source) + (MAX_VIDEOS - 2) * len(predict_page(result(one), MADE)) < 5_000_000
    assert any("--csv" in text for text in many.shown("p"))
    long = Page(predict_page(result(video(clips=MAX_CLIPS + 56, seconds=7200.0)), MADE))
    assert len(long.source) < 500_000
    assert "1:30:00" in long.shown("svg", "text")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Another tool's model, a profile and class names for it, and videos of which one is broken."""
    tiny.save(tmp_path / "tiny.onnx")
    (tmp_path / "names.txt").write_text("walk\nrun\njump\nride\nsit\n")
    (tmp_path / "bikes.mp4").write_bytes(BIKES.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    return tmp_path


def test_the_command_writes_the_page_beside_its_json(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--preprocess", "jfzhang95", "--labels", "names.txt", "--step", "8", "--html", "page.html", "--json")
    done = call("c3d-export", "predict", "tiny.onnx", "bikes.mp4", "broken.mp4", *options, cwd=model, capture=capfd)
    assert done.returncode == 3
    page = Page((model / "page.html").read_text("utf-8"))
    assert page.shown("h1") == ["1 of 2 videos has a result"]
    assert {"walk", "run", "jump", "ride", "sit"} <= set(page.shown("svg", "text"))
    assert 2 <= len(page.named("img")) <= 12
    assert len(page.named("svg")) == 2
    assert not {"previews", "timeline"} & set(re.findall(r'"(\w+)":', done.stdout))


def test_path_and_libraries_are_checked_before_anything_runs(
    model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("c3d-export", "predict", "none.onnx", "bikes.mp4", "--html", "no/p.html", cwd=model, capture=capfd)
    assert (done.returncode, "no/p.html" in done.stderr) == (3, True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = call("c3d-export", "predict", "none.onnx", "bikes.mp4", "--html", "p.html", cwd=model, capture=capfd)
    assert (done.returncode, "[report]" in done.stderr) == (4, True)
