"""`predict` and `features` over everything that is no video, together with one that is."""

import json
import os
import socket
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.colour_videos import write_colours
from helpers.run import run
from helpers.small_video_model import PROFILE, SmallVideoModel
from helpers.video_command import VideoCommand
from helpers.videos import noise, write_sound, write_video

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"
UNDECODABLE = "not a video that can be decoded: Invalid data found when processing input"


def closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.fixture
def bad_videos(tmp_path: Path) -> dict[str, str]:
    """{name: why it cannot be read}, of files in `tmp_path` and addresses."""
    write_sound(tmp_path / "sound.mp3")
    write_sound(tmp_path / "cover.mp3", cover=True)
    with av.open(str(tmp_path / "frameless.avi"), "w") as made:
        stream = made.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "bgr0"
        made.start_encoding()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "cut.mp4").write_bytes(BIKES.read_bytes()[:20000])
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    address = f"http://127.0.0.1:{closed_port()}/b.mp4"
    return {
        "sound.mp3": "has no video stream",
        "cover.mp3": "has no video stream, only a cover picture",
        "frameless.avi": "no frame can be decoded",
        "empty.mp4": "the file is empty",
        "text.mp4": UNDECODABLE,
        "random.mp4": UNDECODABLE,
        "cut.mp4": UNDECODABLE,
        "folder.mp4": "names no videos: the folder holds no files",
        "pipe.mp4": "not a file: pipe.mp4",
        "none.mp4": "no such video: none.mp4",
        "/proc/self/mem": "not a file: /proc/self/mem",
        address: "cannot be read: ",
    }


def assert_failures(failures: list[dict[str, str]], expected: dict[str, str]) -> None:
    found = {failure["source"]: failure["message"] for failure in failures}
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in found[name]
        assert "\n" not in found[name]


def test_predict_lists_each_with_its_reason(video_command: VideoCommand, bad_videos: dict[str, str]) -> None:
    done = video_command.predict(*bad_videos, video_command.videos[0], "--json", "--csv", "scores.csv")
    content = json.loads(done.stdout)
    assert (done.returncode, content["exit_code"], done.stderr) == (3, 3, "")
    assert [video["source"] for video in content["videos"]] == [str(video_command.videos[0])]
    assert_failures(content["failures"], bad_videos)
    assert len((video_command.folder / "scores.csv").read_text().splitlines()) == 1 + 5


def test_a_bad_line_of_a_list_fails_alone(video_command: VideoCommand) -> None:
    good = video_command.videos[0]
    (video_command.folder / "list.txt").write_text(f"{good}\n{'a' * 30_000}\n*.none\nnosuch://a/b.mp4\n{good}\n")
    (video_command.folder / "empty").mkdir()
    for verb, expected in ((video_command.predict, 2), (video_command.features, 1)):  # it takes a file once
        done = verb("list.txt", "empty", "nosuch://c.mp4", "none/*.mp4", "--json")
        content = json.loads(done.stdout)
        assert (done.returncode, content["exit_code"], done.stderr) == (3, 3, "")
        assert [video["source"] for video in content["videos"]] == [str(good)] * expected
        names = [f"list.txt, line {number}" for number in (2, 3, 4)]
        assert [failure["source"] for failure in content["failures"]] == [
            *names,
            "empty",
            "nosuch://c.mp4",
            "none/*.mp4",
        ]


def test_features_lists_each_with_its_reason(video_command: VideoCommand, bad_videos: dict[str, str]) -> None:
    done = video_command.features(*bad_videos, video_command.videos[0], "--json", "-o", "out")
    content = json.loads(done.stdout)
    assert (done.returncode, content["exit_code"], done.stderr) == (3, 3, "")
    assert_failures(content["failures"], bad_videos)
    written = {path.name for path in (video_command.folder / "out").iterdir() if not path.name.startswith(".")}
    assert written == {"a.npy", "a.csv", "features.json"}


def test_a_short_video_and_a_frame_of_one_pixel_are_videos(video_command: VideoCommand) -> None:
    write_colours(video_command.folder / "short.mkv", 5)
    write_video(video_command.folder / "pixel.mkv", noise(16, 1, 1))
    for done in (
        video_command.predict("short.mkv", "pixel.mkv", "--json"),
        video_command.features("short.mkv", "pixel.mkv", "--json"),
    ):
        content = json.loads(done.stdout)
        assert (done.returncode, content["failures"]) == (0, [])
        short, pixel = content["videos"]
        assert (short["clips"], pixel["clips"]) == (1, 1)
        assert short["notes"] == ["shorter than one clip (5 frames): its frames are repeated"]
        assert pixel["notes"] == []


@pytest.mark.heavy
def test_8k_takes_the_memory_that_the_documentation_states(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    """A clip of 16 such frames would be 1.6 GB."""
    still = np.zeros((4320, 7680, 3), np.uint8)
    still[:, ::7] = 200
    frames = np.broadcast_to(still, (18, *still.shape))
    write_video(tmp_path / "8k.mp4", frames, "libx264", "yuv420p", options={"preset": "ultrafast"})
    command = ("c3d-export", "predict", small_video_model.onnx, "8k.mp4", "--preprocess", PROFILE, "--max-memory")
    done = [run(*command, size, cwd=tmp_path) for size in ("500MB", "1GB")]
    assert [(one.returncode, len(one.stderr.splitlines())) for one in done] == [(5, 1), (0, 0)]
