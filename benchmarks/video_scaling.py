"""How many videos an hour do Ray's workers get through, and how many would more of them?

`python benchmarks/video_scaling.py [--artifact c3d.onnx] [--videos 10] [--seconds 10] [--rounds 2]`. `predict` runs on
copies of one video, without Ray in this process with one thread, then on 1 and on 2 workers of one thread each, and so
again in each round. The rate is that between the first and the last result, so that the start of Ray does not count;
it is printed separately, as is the processor time that this process spends for each video while the workers compute.

What is printed beyond 2 workers is calculated, not measured. With r1 and r2 the measured videos an hour,
e = r2 / (2 r1) the efficiency of the second core of this machine, and d the seconds of this process for a video:

    videos an hour of a machine with c cores   = c r1 e          cores share caches and memory, and later ones are
                                                                 taken to cost as much as the second
    … of m such machines                       = min(m c r1 e, 3600 / d)      they share nothing but this process

Without `--artifact`, C3D with random weights is exported with `--target cpu`. The video is the frames of
tests/data/bikes.mp4, run backwards and forwards and encoded as H.264 of 320x240, 25 frames a second.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from measure import machine
from video_throughput import PROFILE, STEP, encode, export_network

from exporter.inference.predictions import PredictRequest
from exporter.inference.types import ClipOptions, InferenceOptions, RayOptions
from exporter.workflows.predict import open_predict

FPS = 25
CALCULATED = ((1, 4), (1, 16), (4, 16), (16, 16), (64, 16))
"""(machines, cores of each) for which rates are calculated."""


@dataclass(frozen=True)
class Rate:
    """One run.

    Attributes:
        an_hour: videos an hour between the first and the last result.
        start: seconds until the first result.
        own: seconds of this process's processor time for a video, between the first and the last result.
        clips: of each video.
    """

    an_hour: float
    start: float
    own: float
    clips: int


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--videos", type=int, default=10, help="videos for each worker")
    parser.add_argument("--seconds", type=int, default=10, help="length of the video")
    parser.add_argument("--preprocess", default=PROFILE, help="the profile; '' for the artifact's own")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        artifact: Path = given.artifact or export_network(Path(folder))
        video = encode(Path(folder) / "video.mp4", given.seconds * FPS)
        rates: dict[int, list[Rate]] = {workers: [] for workers in (0, 1, 2)}
        for _ in range(given.rounds):
            for workers, found in rates.items():
                copies = [Path(folder) / f"{number}.mp4" for number in range(given.videos * max(1, workers))]
                for copy in copies:
                    shutil.copyfile(video, copy)
                found.append(measure(artifact, copies, workers, given.preprocess))
    report(rates, given.seconds)


def measure(artifact: Path, videos: list[Path], workers: int, profile: str) -> Rate:
    """Run `predict` on workers of one thread, or, for 0, in this process."""
    request = PredictRequest(
        artifact,
        tuple(videos),
        InferenceOptions(threads=1, preprocess=profile or None),
        ClipOptions(step=STEP),
        ray=RayOptions(workers=workers) if workers else None,
    )
    began, times, own = time.perf_counter(), list[float](), list[float]()
    with open_predict(request) as run:
        for _ in run:
            times.append(time.perf_counter())
            own.append(time.process_time())
        result = run.result()
    assert len(result.videos) == len(videos)
    count = len(videos) - 1
    return Rate(
        3600 * count / (times[-1] - times[0]), times[0] - began, (own[-1] - own[0]) / count, result.videos[0].clips
    )


def report(rates: dict[int, list[Rate]], seconds: int) -> None:
    """Print the medians, and what follows from them."""
    an_hour = {workers: statistics.median(rate.an_hour for rate in found) for workers, found in rates.items()}
    print(f"videos of {seconds} s, 320x240, {rates[1][0].clips} clips each, one every {STEP} frames")
    for workers, found in rates.items():
        name = f"{workers} worker{'s' * (workers > 1)}" if workers else "no Ray, 1 thread"
        start = statistics.median(rate.start for rate in found)
        runs = ", ".join(f"{rate.an_hour:.0f}" for rate in found)
        print(f"{name:17s} {an_hour[workers]:7.0f} videos/h ({runs}); first result after {start:.1f} s")
    efficiency = an_hour[2] / (2 * an_hour[1])
    own = statistics.median(rate.own for rate in rates[2])
    print(
        f"efficiency of the second worker {efficiency:.2f}; this process: {1e3 * own:.1f} ms of processor time a video"
    )
    for machines, cores in CALCULATED:
        calculated = min(machines * cores * an_hour[1] * efficiency, 3600 / own)
        print(f"calculated: {machines:3d} machines of {cores} cores {calculated:9.0f} videos/h")


if __name__ == "__main__":
    main()
