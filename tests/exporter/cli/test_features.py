"""`c3d-export features`, as a user runs it."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import click
import numpy as np
import pytest
from helpers.colour_videos import write_colours
from helpers.features import files
from helpers.run import BIN
from helpers.video_command import KNOWN, VideoCommand

from exporter.cli.features import features_command
from exporter.cli.predict import predict_command
from models.preprocessing.profiles import PROFILES


@pytest.mark.parametrize("command", [features_command, predict_command])
def test_help_names_the_profile_that_takes_a_clip_at_every_frame(command: click.Command) -> None:
    every_frame = [profile.name for profile in PROFILES if profile.clip_step == 1]
    (step,) = (option for option in command.params if option.name == "step")
    assert isinstance(step, click.Option)
    assert f"every frame for {', '.join(every_frame)};" in (step.help or "")


def test_files_and_what_is_printed(video_command: VideoCommand) -> None:
    folder, videos = video_command.folder, video_command.videos
    (folder / "text.mp4").write_text("no video")
    done = video_command.features(*videos, folder / "text.mp4", "-o", "out")
    assert (done.returncode, done.stderr) == (3, "")
    lines = done.stdout.splitlines()
    assert "layer    fc6 (8)" in lines
    assert f"{videos[0]}  4 clips in a.csv, a.npy" in lines
    assert lines[-2].startswith(f"FAILED   {folder / 'text.mp4'}: ")
    assert lines[-1].startswith("result   2 of 3 videos, 7 clips, 1 failed, in out; took ")
    assert np.load(folder / "out" / "b.npy").shape == (3, 8)
    again = video_command.features(*videos, folder / "text.mp4", "-o", "out", "--json")
    content = json.loads(again.stdout)
    assert content["exit_code"] == again.returncode == 3
    assert [(video["name"], video["kept"]) for video in content["videos"]] == [("a", True), ("b", True)]
    assert content["failures"][0]["source"] == str(folder / "text.mp4")


def test_other_options_in_the_same_folder(video_command: VideoCommand) -> None:
    videos = video_command.videos
    assert video_command.features(*videos).returncode == 0
    refused = video_command.features(*videos, "--aggregate", "mean")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "aggregate clips, not mean; --overwrite" in refused.stderr
    assert video_command.features(*videos, "--aggregate", "mean", "--overwrite").returncode == 0
    assert np.linalg.norm(np.load(video_command.folder / "features" / "a.npy")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--layer", "fc7"), 2, "it returns logits, fc6"),
        (
            ("-o", "/dev/null/out"),
            3,
            "--output /dev/null/out: cannot be written to: /dev/null: it is a file, not a folder",
        ),
        (("--step", "0"), 2, "'0'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    video_command: VideoCommand, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = video_command.features(*video_command.videos, known=(*KNOWN, *arguments))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert message in done.stderr


def test_an_artifact_without_a_profile_asks_for_one(video_command: VideoCommand) -> None:
    done = video_command.features(*video_command.videos, known=())
    assert done.returncode == 2
    assert "--preprocess" in done.stderr


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_is_continued(
    video_command: VideoCommand, number: signal.Signals, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    first = write_colours(folder / "v0.mkv", 120)
    for copy in range(1, 6):
        shutil.copy(first, folder / f"v{copy}.mkv")
    command = ("features", video_command.model.onnx, folder, *KNOWN, "-o", "out")
    process = subprocess.Popen(
        [str(BIN / "c3d-export"), *map(str, command)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "v1.npy").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert b"stopped by SIGINT" in stderr
        assert not list((tmp_path / "out").glob(".c3d-export-*"))
    stopped = files(tmp_path / "out")
    done = video_command.run(*command, "--json")
    kept = [video["kept"] for video in json.loads(done.stdout)["videos"]]
    assert 1 <= sum(kept) < 6
    assert len(kept) == 6
    whole = files(tmp_path / "out")
    assert stopped.items() <= whole.items()  # what was there was complete
    assert len({content for name, content in whole.items() if name.endswith(".npy")}) == 1
    assert not list((tmp_path / "out").glob(".c3d-export-*"))
