"""Videos on the workers of a Ray cluster: the results of a local run, even where a worker is killed."""

import os
import pickle
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers.run import BIN, run
from helpers.server import Site, serve_plainly
from helpers.small_video_model import NARROW
from helpers.videos import moving, write_video

from exporter.errors import UsageError
from exporter.inference import ray_runner
from exporter.inference.model import open_video_model
from exporter.inference.ray_runner import map_videos, run_videos_anywhere, worker_options
from exporter.inference.types import InferenceOptions, RayOptions, VideoEnd
from exporter.requests import ExportRequest
from exporter.types import ComputePrecision, PrecisionOptions
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from exporter.workflows.export import ExportResult, export

PROFILE = "jfzhang95"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of different lengths, and a text."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(8):
        write_video(folder / f"{number}.mkv", moving(24 + 3 * number))
    (folder / "4a.mkv").write_text("no video")
    return folder


@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_a_model_moves_to_another_place_and_returns_the_same(
    narrow_artifacts: ExportResult, tmp_path: Path, suffix: str
) -> None:
    path = next(artifact.path for artifact in narrow_artifacts.artifacts if artifact.path.suffix == suffix)
    model = open_video_model(path, InferenceOptions(preprocess=PROFILE, threads=1))
    with model:
        pickled = pickle.dumps(model.at(path))
        assert model.transform is not None
        frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
        expected = model.run([model.to_input(np.stack([model.transform(frame)] * 16))])
    for file in model.files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pickle.loads(pickled).at(tmp_path / path.name) as moved:
        assert moved.path.parent == tmp_path
        values = moved.run([moved.to_input(np.stack([moved.transform(frame)] * 16))])
    assert {name: rows.tobytes() for name, rows in values.items()} == {
        name: rows.tobytes() for name, rows in expected.items()
    }


def test_a_worker_has_one_thread_unless_asked_otherwise() -> None:
    assert worker_options(InferenceOptions(), RayOptions()).threads == 1
    assert worker_options(InferenceOptions(threads=4), RayOptions()).threads == 4
    assert worker_options(InferenceOptions(), None).threads is None


def test_a_camera_is_refused(narrow_artifacts: ExportResult) -> None:
    model = open_video_model(narrow_artifacts.artifacts[0].path, InferenceOptions(preprocess=PROFILE))
    with pytest.raises(UsageError, match="camera:0"):
        next(map_videos(model, [Source("camera:0", "camera:0", "camera")], lambda *_: [], RayOptions()))


def test_a_video_with_too_many_values_ends_with_an_error(
    narrow_artifacts: ExportResult, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(open_task: Any, items: Sequence[Any], *_: object) -> Iterator[Any]:
        path = narrow_artifacts.artifacts[0].path
        yield from map(open_task(path.parent), items)

    monkeypatch.setattr(ray_runner, "map_on_ray", in_this_process)
    monkeypatch.setattr(ray_runner, "MAX_RESULT_BYTES", 200)  # 10 clips of 5 scores
    model = open_video_model(narrow_artifacts.artifacts[0].path, InferenceOptions(preprocess=PROFILE))
    sources = [Source(str(videos / f"{number}.mkv"), f"{number}.mkv") for number in (0, 1)]
    events = list(run_videos_anywhere(model, sources, Sampling(16, step=1), RayOptions()))
    ends = [event for event in events if isinstance(event, VideoEnd)]
    assert [event.number for event in events if not isinstance(event, VideoEnd)] == [0] * 9
    assert [end.number for end in ends] == [0, 1]
    assert ends[0].error is None
    assert "--runner local" in str(ends[1].error)


@pytest.mark.cluster
def test_predict_on_ray_returns_what_a_local_run_does_though_a_worker_is_killed(
    narrow_artifacts: ExportResult, videos: Path, tmp_path: Path
) -> None:
    model = narrow_artifacts.artifacts[0].path
    served = Site(files={f"/{name}.mkv": (videos / f"{name}.mkv").read_bytes() for name in (1, 5)}, ranges=True)
    with serve_plainly(served):
        urls = [f"{served.address}/{name}.mkv" for name in (1, 5)]
        command = ["predict", model, videos.name, *urls, "--preprocess", PROFILE, "--per-clip", "--step", "1"]
        local = run("c3d-export", *command, "--threads", 1, "--csv", tmp_path / "local.csv", cwd=videos.parent)
        assert local.returncode == 3, local.stderr
        process = _start([*command, "--runner", "ray", "--csv", tmp_path / "ray.csv"], videos.parent)
        printed = _kill_a_worker(process)
        out, errors = _finish(process)
    assert process.returncode == 3, errors
    assert errors == local.stderr
    assert _without_time(printed + out).replace("ray.csv", "local.csv") == _without_time(local.stdout)
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


@pytest.mark.cluster
def test_features_on_ray_are_the_files_of_a_local_run_though_a_worker_is_killed(
    narrow_artifacts: ExportResult, videos: Path, tmp_path: Path
) -> None:
    command = ["features", narrow_artifacts.artifacts[0].path, videos.name, "--preprocess", PROFILE, "--step", "1"]
    command += ["--layer", "logits", "-o"]
    local = run("c3d-export", *command, tmp_path / "local", "--threads", 1, cwd=videos.parent)
    assert local.returncode == 3, local.stderr
    process = _start([*command, tmp_path / "ray", "--runner", "ray"], videos.parent)
    _kill_a_worker(process)
    _, errors = _finish(process)
    assert (process.returncode, errors) == (3, local.stderr)
    files = sorted(path.name for path in (tmp_path / "local").iterdir() if path.is_file())
    assert len(files) == 2 * 8 + 1
    assert sorted(path.name for path in (tmp_path / "ray").iterdir() if path.is_file()) == files
    for name in files:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name


@pytest.mark.cluster
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_features_of_lower_precision_on_ray_are_those_of_a_local_run(
    precision: ComputePrecision, videos: Path, tmp_path: Path
) -> None:
    lower = PrecisionOptions(precision, min_snr=20.0)
    wanted = ExportRequest(("onnx",), replace(NARROW, preprocess=PROFILE), output_dir=tmp_path, precision=lower)
    model = export(replace(wanted, verify=False)).artifacts[0].path
    command = ["features", model, videos / "0.mkv", videos / "1.mkv", "--layer", "logits", "--step", "1", "-o"]
    for name, options in {"local": ("--threads", 1), "ray": ("--runner", "ray")}.items():
        done = run("c3d-export", *command, tmp_path / name, *options, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), name
    for number, clips in ((0, 9), (1, 12)):
        local = np.load(tmp_path / "local" / f"{number}.npy")
        assert local.shape == (clips, 5)
        assert np.load(tmp_path / "ray" / f"{number}.npy").tobytes() == local.tobytes()


def _start(arguments: Sequence[object], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / "c3d-export"), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _kill_a_worker(process: subprocess.Popen[str]) -> str:
    """End one of the workers with SIGKILL after the first video's result, and return what was printed until then."""
    assert process.stdout is not None
    printed = ""
    while " clip" not in printed.partition("0.mkv")[2]:
        printed += process.stdout.readline()
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if "MapWorker" in child.name()]
    assert len(workers) > 1
    workers[0].kill()
    return printed


def _finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what else is printed and the errors; `communicate` loses the lines that `readline` left in its buffer."""
    assert process.stdout is not None
    assert process.stderr is not None
    limit = threading.Timer(240, process.kill)
    limit.start()
    try:
        with process:
            return process.stdout.read(), process.stderr.read()
    finally:
        limit.cancel()


def _without_time(printed: str) -> str:
    return re.sub(r"took [\d.]+ s", "", printed)
