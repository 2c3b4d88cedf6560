"""`c3d-export predict`, as a user runs it."""

import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.colour_videos import write_colours
from helpers.run import BIN, call, run
from helpers.small_video_model import PROFILE, SmallVideoModel

from exporter.storage import read_bytes

KNOWN = ("--preprocess", PROFILE, "--step", "8")


def test_the_table_in_a_pipe(
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = call("c3d-export", "predict", small_video_model.onnx, *short_videos, *KNOWN, cwd=tmp_path, capture=capsys)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"model    {small_video_model.onnx} in onnxruntime")
    first, second = (next(i for i, line in enumerate(lines) if line.startswith(str(path))) for path in short_videos)
    expected = small_video_model.probabilities(short_videos[0], (0, 8, 16, 24)).mean(axis=0)
    name, value = lines[first + 2].rsplit(maxsplit=1)
    assert name.strip() == f"class {expected.argmax()}"
    assert float(value) == pytest.approx(expected.max(), abs=2e-4)
    assert first < second
    assert "\x1b" not in done.stdout


def test_json_is_the_only_output(
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    done = call(
        "c3d-export", "predict", small_video_model.onnx, tmp_path / "text.mp4", short_videos[0], *KNOWN,
        "--json", "--per-clip", "--top", "2", cwd=tmp_path, capture=capsys,
    )  # fmt: skip
    content = json.loads(done.stdout)
    assert done.returncode == content["exit_code"] == 3
    (video,) = content["videos"]
    assert [len(clip["top"]) for clip in video["per_clip"]] == [2, 2, 2, 2]
    assert [failure["source"] for failure in content["failures"]] == [str(tmp_path / "text.mp4")]
    assert content["model"]["preprocessing"] == PROFILE


def test_broken_videos_are_listed_at_the_end(
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "list.txt").write_text(f"text.mp4\n{short_videos[0]}\nnone.mp4\n")
    done = call("c3d-export", "predict", small_video_model.onnx, "list.txt", *KNOWN, cwd=tmp_path, capture=capsys)
    assert done.returncode == 3
    at = [done.stdout.index(text) for text in (str(short_videos[0]), "text.mp4: not", "no such video", "2 failed")]
    assert at == sorted(at)


def test_csv(
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("predict", small_video_model.onnx, *short_videos, *KNOWN, "--csv", "scores.csv", "--per-clip")
    assert call("c3d-export", *arguments, cwd=tmp_path, capture=capsys).returncode == 0
    with (tmp_path / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == (4 + 1 + 3 + 1) * 5
    assert [*tmp_path.iterdir()] == [tmp_path / "scores.csv"]
    arguments = ("predict", small_video_model.onnx, short_videos[0], *KNOWN, "--csv", "none/scores.csv")
    refused = call("c3d-export", *arguments, cwd=tmp_path, capture=capsys)
    assert (refused.returncode, refused.stdout) == (3, "")


def test_files_behind_a_url_and_on_a_full_disk(
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("predict", small_video_model.onnx, short_videos[0], *KNOWN, "--csv")
    assert call("c3d-export", *arguments, "memory://out/a.csv", cwd=tmp_path, capture=capsys).returncode == 0
    assert call("c3d-export", *arguments, "a.csv", cwd=tmp_path, capture=capsys).returncode == 0
    assert read_bytes("memory://out/a.csv") == (tmp_path / "a.csv").read_bytes()
    full = call("c3d-export", *arguments, "/dev/full", cwd=tmp_path, capture=capsys)
    assert (full.returncode, full.stderr) == (3, "Error: --csv /dev/full: cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("{onnx}", "{video}"), 2, "--preprocess NAME|FILE"),
        (("{onnx}", "{video}", "--preprocess", "none"), 2, "no profile none"),
        (("{onnx}", "{video}", *KNOWN, "--window", "long"), 2, "'long' is no length"),
        (("{onnx}", "{video}", *KNOWN, "--clips", "3"), 2, "no step"),
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
    small_video_model: SmallVideoModel,
    short_videos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    (tmp_path / "two.txt").write_text("a\nb\n")
    given = [text.format(onnx=small_video_model.onnx, video=short_videos[0]) for text in arguments]
    done = call("c3d-export", "predict", *given, cwd=tmp_path, capture=capsys)
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
