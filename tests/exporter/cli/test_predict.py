"""`c3d-export predict`, as a user runs it."""

import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.colour_videos import write_colours
from helpers.run import BIN, run
from helpers.small_video_model import PROFILE, SmallVideoModel
from helpers.video_command import KNOWN, VideoCommand

from exporter import output_targets
from exporter.errors import OutputError
from exporter.storage import read_bytes


def test_the_table_in_a_pipe(video_command: VideoCommand) -> None:
    videos, model = video_command.videos, video_command.model
    done = video_command.predict(*videos)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"model    {model.onnx} in onnxruntime")
    first, second = (next(i for i, line in enumerate(lines) if line.startswith(str(path))) for path in videos)
    expected = model.probabilities(videos[0], (0, 8, 16, 24)).mean(axis=0)
    name, value = lines[first + 2].rsplit(maxsplit=1)
    assert name.strip() == f"class {expected.argmax()}"
    assert float(value) == pytest.approx(expected.max(), abs=2e-4)
    assert first < second
    assert "\x1b" not in done.stdout


def test_json_is_the_only_output(video_command: VideoCommand) -> None:
    text = video_command.folder / "text.mp4"
    text.write_text("no video")
    done = video_command.predict(text, video_command.videos[0], "--json", "--per-clip", "--top", "2")
    content = json.loads(done.stdout)
    assert done.returncode == content["exit_code"] == 3
    (video,) = content["videos"]
    assert [len(clip["top"]) for clip in video["per_clip"]] == [2, 2, 2, 2]
    assert [failure["source"] for failure in content["failures"]] == [str(text)]
    assert content["model"]["preprocessing"] == PROFILE


def test_broken_videos_are_listed_at_the_end(video_command: VideoCommand) -> None:
    video = str(video_command.videos[0])
    (video_command.folder / "text.mp4").write_text("no video")
    (video_command.folder / "list.txt").write_text(f"text.mp4\n{video}\nnone.mp4\n")
    done = video_command.predict("list.txt")
    assert done.returncode == 3
    at = [done.stdout.index(text) for text in (video, "text.mp4: not", "no such video", "2 failed")]
    assert at == sorted(at)


def test_a_file_that_cannot_be_written_does_not_hide_the_result(
    video_command: VideoCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_to_write(*_: object) -> None:
        raise OutputError("scores.csv: cannot be written: No space left on device")

    monkeypatch.setattr(output_targets, "write_file", refuse_to_write)
    done = video_command.predict(video_command.videos[0], "--csv", "scores.csv", "--json")
    assert done.returncode == 3
    assert len(json.loads(done.stdout)["videos"]) == 1


def test_csv(video_command: VideoCommand) -> None:
    folder, videos = video_command.folder, video_command.videos
    done = video_command.predict(*videos, "--csv", "scores.csv", "--per-clip")
    assert (done.returncode, done.stdout.splitlines()[-1].split()) == (0, ["wrote", "scores.csv"])
    with (folder / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == (4 + 1 + 3 + 1) * 5
    assert [*folder.iterdir()] == [folder / "scores.csv"]
    refused = video_command.predict(videos[0], "--csv", "none/scores.csv")
    assert (refused.returncode, refused.stdout) == (3, "")


def test_files_behind_a_url_and_on_a_full_disk(video_command: VideoCommand) -> None:
    video = video_command.videos[0]
    for location in ("memory://out/a.csv", "a.csv"):
        assert video_command.predict(video, "--csv", location).returncode == 0
    assert read_bytes("memory://out/a.csv") == (video_command.folder / "a.csv").read_bytes()
    full = video_command.predict(video, "--csv", "/dev/full")
    assert (full.returncode, full.stderr) == (3, "Error: --csv /dev/full: cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("{onnx}", "{video}"), 2, "--preprocess NAME|FILE"),
        (("{onnx}", "{video}", "--preprocess", "none"), 2, "no profile none"),
        (("{onnx}", "{video}", *KNOWN, "--window", "long"), 2, "--window 'long' is no length"),
        (("{onnx}", "{video}", *KNOWN, "--clips", "3"), 2, "no --step"),
        (("{onnx}", "{video}", *KNOWN, "--labels", "two.txt"), 2, "2 names, but the network has 5 classes"),
        (("{onnx}", "{video}", *KNOWN, "--batch", "0"), 2, "--batch must be at least 1"),
        (("{onnx}", "{video}", *KNOWN, "--mean", "none.npy"), 3, "none.npy"),
        (("{onnx}", "none.mp4", *KNOWN), 3, "no such video: none.mp4"),
        (("{onnx}", "two.txt", *KNOWN), 3, "no such video"),
        (("none.onnx", "{video}", *KNOWN), 3, "none.onnx"),
        (("two.txt", "{video}", *KNOWN), 3, "two.txt"),
        (("{onnx}", "{video}", *KNOWN, "--device", "tensorrt"), 4, "--device tensorrt"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    video_command: VideoCommand,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    (video_command.folder / "two.txt").write_text("a\nb\n")
    given = [text.format(onnx=video_command.model.onnx, video=video_command.videos[0]) for text in arguments]
    done = video_command.run("predict", *given)
    assert done.returncode == code
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_a_signal_stops_it_at_once_without_a_traceback(small_video_model: SmallVideoModel, tmp_path: Path) -> None:
    video = write_colours(tmp_path / "long.mkv", 2000)
    process = subprocess.Popen(
        [BIN / "c3d-export", "predict", small_video_model.onnx, video, "--preprocess", PROFILE, "--csv", "scores.csv"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()  # the model is loaded
    time.sleep(0.2)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - sent < 10
    assert process.returncode == 130
    assert stderr == "stopped by SIGINT; no incomplete files are left\n"
    assert [*tmp_path.iterdir()] == [video]


def test_a_pipe_that_is_closed(
    small_video_model: SmallVideoModel, short_videos: tuple[Path, Path], tmp_path: Path
) -> None:
    command = f"{BIN}/c3d-export predict {small_video_model.onnx} {short_videos[0]} {' '.join(KNOWN)} | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_help_names_every_option(tmp_path: Path) -> None:
    done = run("c3d-export", "predict", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for option in ("--per-clip", "--window", "--short", "--preprocess", "--labels", "--average", "--csv"):
        assert option in done.stdout
