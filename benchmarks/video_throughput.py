"""Does decoding keep up? Clips a second of `predict`'s pipeline beside those of the bare artifact, and the memory.

`python benchmarks/video_throughput.py [--artifact c3d.onnx] [--video FILE...] [--rounds 8] [--threads 2]`. Each round
runs four targets on the same clips, in a random order: the artifact on clips that lie ready in memory (`bare`); the
pipeline that `predict` and `features` use, with decoding in threads beside the engine (`beside`), and with decoders
that rest while the engine runs (`turns`); and the same steps one after another in one thread (`one thread`). Prints
which of the pipelines `predict` takes here, clips a second, the ratio to `bare` in each round (median and the interval
of the sign test), and the processor time of decoding and preprocessing for a clip, measured alone.

Without `--artifact`, C3D with random weights is exported with `--target cpu`. Without `--video`, the frames of
tests/data/bikes.mp4 are run backwards and forwards and encoded as H.264 of 320x240. `--long` measures peak memory on
videos of 3 and of 30 times that length instead, each in a process of its own.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.stream import VideoStream
from measure import machine
from numpy.typing import NDArray

from exporter.bench.statistics import paired_ratio
from exporter.inference.model import VideoModel, open_video_model
from exporter.inference.pipeline import run_videos
from exporter.inference.types import ClipOptions, ClipOutputs, InferenceOptions
from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source, expand_sources
from exporter.workflows.export import export
from exporter.workflows.video_inputs import plan_sampling

BIKES = Path(__file__).parents[1] / "tests" / "data" / "bikes.mp4"
PROFILE = "jfzhang95"
SIZE = (320, 240)
STEP = 16


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--video", type=Path, action="append", default=[])
    parser.add_argument("--preprocess", default=PROFILE, help="the profile; '' for the artifact's own")
    parser.add_argument("--clips", type=int, default=24, help="clips of the video that is made")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--long", action="store_true", help="measure peak memory on a long video")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        artifact: Path = given.artifact or export_network(Path(folder))
        if given.long:
            for times in (3, 30):
                made = encode(Path(folder) / f"{times}.mp4", given.clips * STEP * times)
                print(f"{given.clips * times} clips: peak {peak_megabytes(artifact, made, given.preprocess):.0f} MB")
            return
        videos: list[Path] = given.video or [encode(Path(folder) / "bikes.mp4", given.clips * STEP)]
        options = InferenceOptions(threads=given.threads, batch=given.batch, preprocess=given.preprocess or None)
        with open_video_model(artifact, options) as model:
            measure(model, expand_sources(videos), given.rounds)


def measure(model: VideoModel, sources: Sequence[Source], rounds: int) -> None:
    """Print the throughput of the four targets."""
    sampling = plan_sampling(model.size[0], model.preprocessing, ClipOptions(step=STEP))
    clips = decode(model, sources, sampling)
    targets: dict[str, Callable[[], int]] = {
        "bare": lambda: run_bare(model, clips),
        "beside": lambda: count_outputs(model, sources, sampling, take_turns=False),
        "turns": lambda: count_outputs(model, sources, sampling, take_turns=True),
        "one thread": lambda: run_bare(model, decode(model, sources, sampling)),
    }
    for run in targets.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in targets}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample([*targets], len(targets)):
            started = time.perf_counter()
            done = targets[name]()
            times[name].append((time.perf_counter() - started) / done)
    chosen = "turns" if model.takes_turns else "beside"
    print(
        f"{model.record().engine}, batch {model.batch}, {len(clips)} clips a round, {rounds} rounds; predict: {chosen}"
    )
    for name, seconds in times.items():
        ratio = paired_ratio(times["bare"], seconds)
        print(
            f"{name:10s} {1 / statistics.median(seconds):7.2f} clips/s  throughput over bare {ratio.value:.3f} "
            f"[{ratio.low:.3f}, {ratio.high:.3f}]"
        )
    started = time.process_time()
    repeats = 3
    for _ in range(repeats):
        decode(model, sources, sampling)
    spent = 1e3 * (time.process_time() - started) / repeats / len(clips)
    print(f"decoding and preprocessing: {spent:.1f} ms of processor time a clip")


def decode(model: VideoModel, sources: Sequence[Source], sampling: Sampling) -> list[NDArray[Any]]:
    """Return every clip as the model takes it."""
    clips: list[NDArray[Any]] = []
    for source in sources:
        with open_video(source, model.transform) as video:
            clips += [model.to_input(clip.frames) for clip in video.clips(sampling)]
    return clips


def run_bare(model: VideoModel, clips: Sequence[NDArray[Any]]) -> int:
    """Run the artifact on clips that lie ready; return how many."""
    for first in range(0, len(clips), model.batch):
        model.run(clips[first : first + model.batch])
    return len(clips)


def count_outputs(model: VideoModel, sources: Sequence[Source], sampling: Sampling, *, take_turns: bool) -> int:
    """Run the pipeline; return how many clips it gave."""
    events = run_videos(model, sources, sampling, take_turns=take_turns)
    return sum(isinstance(event, ClipOutputs) for event in events)


def export_network(folder: Path) -> Path:
    """Export C3D with random weights for CPUs; the speed does not depend on the weights."""
    request = ExportRequest(("onnx",), optimize=OptimizeOptions(target="cpu"), output_dir=folder, verify=False)
    return export(request).artifacts[0].path


def encode(path: Path, frames: int) -> Path:
    """Write `frames` frames of a real video, run backwards and forwards, as H.264."""
    with av.open(str(BIKES)) as container:
        given = [frame.reformat(width=SIZE[0], height=SIZE[1], format="yuv420p") for frame in container.decode(video=0)]
    period = 2 * (len(given) - 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "23"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(frames):
            at = number % period
            frame = given[min(at, period - at)]
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


PEAK = """
import resource, sys
from exporter.cli.main import cli
cli(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_megabytes(artifact: Path, video: Path, profile: str) -> float:
    """Return the peak resident memory of `predict` on a video, in MB (10^6 bytes)."""
    command = [sys.executable, "-c", PEAK, "predict", str(artifact), str(video), "--step", str(STEP)]
    command += ["--preprocess", profile] if profile else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
