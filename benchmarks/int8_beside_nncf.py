"""Our int8 files beside plain NNCF with the same calibration clips, in one interleaved run. Needs the extra `int8`.

    python benchmarks/int8_beside_nncf.py --calibrate VIDEO|FOLDER [--weights FILE] [--base-channels N] [--rounds 15]

Plain NNCF is what a user does without this project: the portable ONNX file, read by OpenVINO, `nncf.quantize` with its
defaults on the calibration clips, compiled with OpenVINO's own precision hint. Beside it `--format openvino --precision
int8` and `--format onnx --precision int8 --target cpu`, each in the engine and with the settings that `bench` uses, in
one process, one batch of one clip at a time. Signal to noise is the lowest of the logits on the held-out clips, against
the network in float64. Times are the least of all rounds; ratios are medians over the rounds, with the lowest and the
highest. With `--threads 1` times are processor time, which other programs disturb less. Without `--weights` the weights
are random.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import machine
from numpy.typing import NDArray

from exporter.calibration_clips import CalibrationClips
from exporter.engines import find_engine
from exporter.engines.base import Runtime
from exporter.foreign_logging import import_openvino, silence_openvino_tools
from exporter.formats import load_artifact, runtime_options
from exporter.formats.held_out import HeldOut, snr_db
from exporter.requests import ExportRequest
from exporter.system import available_cpus, environment
from exporter.timing import RoundOptions, time_interleaved
from exporter.types import CalibrationOptions, FormatName, OptimizeOptions, PrecisionOptions, Target
from exporter.workflows.calibration import make_calibration
from exporter.workflows.export import export
from models.builder import build
from models.config import BASE_CHANNELS
from models.options import BuildOptions

PLAIN = "plain NNCF in OpenVINO"
OURS: dict[str, tuple[FormatName, Target]] = {
    "--format openvino --precision int8": ("openvino", "portable"),
    "--format onnx --precision int8 --target cpu": ("onnx", "cpu"),
}
Run = Callable[[NDArray[Any]], NDArray[Any]]


def quantize_plain(onnx_file: Path, clips: NDArray[Any], threads: int) -> Run:
    """Return a run of the ONNX file quantised by NNCF's defaults, compiled by OpenVINO's defaults for latency."""
    core = import_openvino().Core()
    rows = [clips[number : number + 1] for number in range(len(clips))]
    with silence_openvino_tools():
        nncf = importlib.import_module("nncf")
    with silence_openvino_tools():  # importing NNCF sets its logger's level
        model = nncf.quantize(core.read_model(onnx_file), nncf.Dataset(rows), subset_size=len(rows))
    model.reshape([1, *clips.shape[1:]])
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(model, "CPU", settings)
    return lambda clip: compiled([clip], share_inputs=True)[0]


def run_runtime(runtime: Runtime, name: str, output: str, clip: NDArray[Any]) -> NDArray[Any]:
    """Return an output of a loaded artifact."""
    return runtime.run({name: clip})[output]


def open_ours(
    stack: ExitStack,
    model: BuildOptions,
    kind: tuple[FormatName, Target],
    options: PrecisionOptions,
    folder: Path,
    threads: int,
) -> tuple[Run, str]:
    """Export, load, and return a run and the layers that were raised. What is measured here verifies the artifact."""
    name, target = kind
    request = ExportRequest(
        (name,), model, optimize=OptimizeOptions(target), precision=options, output_dir=folder, verify=False
    )
    (artifact,) = export(request).artifacts
    signature = artifact.manifest.signature
    settings = replace(runtime_options(load_artifact(artifact.path)), threads=threads)
    runtime = stack.enter_context(find_engine(name).open(artifact.path, settings))
    run = partial(run_runtime, runtime, signature.inputs[0].name, signature.outputs[0].name)
    return run, ", ".join(artifact.manifest.raised_layers) or "none"


def measure(
    runs: dict[str, Run], clips: CalibrationClips, exact: list[NDArray[Any]], rounds: int, threads: int
) -> list[str]:
    """Return the rows of the table."""
    lowest: dict[str, float] = {}
    for name, run in runs.items():
        pairs = zip(clips.held_out, exact, strict=True)
        lowest[name] = min(snr_db(np.asarray(run(clip[np.newaxis])), golden) for clip, golden in pairs)
    one = clips.held_out[:1]
    calls = {name: partial(run, one) for name, run in runs.items()}
    if threads == 1:
        times = {name: list[float]() for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                times[name].append(processor_time(call))
    else:
        times = time_interleaved(calls, RoundOptions(rounds, rounds, warm_up=2))
    rows: list[str] = []
    for name, seconds in times.items():
        ratios = [own / plain for own, plain in zip(seconds, times[PLAIN], strict=True)]
        least = f"{1e3 * min(seconds):.1f} | {min(seconds) / min(times[PLAIN]):.2f}"
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append(f"| {name} | {lowest[name]:.1f} | {least} | {spread} |")
    return rows


def processor_time(call: Callable[[], object]) -> float:
    """Return the processor time of a call in seconds."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Quantise, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--calibration-samples", type=int)
    parser.add_argument("--preprocess", default="jfzhang95", help="of random weights")
    parser.add_argument("--base-channels", type=int, default=BASE_CHANNELS, help="of random weights")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=available_cpus(), help="of each engine")
    given = parser.parse_args()
    options = BuildOptions(weights=given.weights)
    if given.weights is None:
        options = BuildOptions(base_channels=given.base_channels, preprocess=given.preprocess)
    calibration = CalibrationOptions((given.calibrate,), given.calibration_samples)
    model = build(options)
    clips = make_calibration(model, calibration)
    output = model.select()[0].name
    golden = HeldOut(model, (output,), clips.held_out).float64
    with TemporaryDirectory() as folder, ExitStack() as stack:
        plain = ExportRequest(("onnx",), options, output_dir=Path(folder) / "plain", verify=False)
        (artifact,) = export(plain).artifacts
        runs: dict[str, Run] = {PLAIN: quantize_plain(artifact.path, clips.calibration, given.threads)}
        raised: dict[str, str] = {}
        precision = PrecisionOptions("int8", calibration=calibration)
        for name, kind in OURS.items():
            runs[name], raised[name] = open_ours(stack, options, kind, precision, Path(folder) / kind[0], given.threads)
        rows = measure(runs, clips, [row[output] for row in golden], given.rounds, given.threads)
    print(machine(), f"{given.threads} threads", model.title, clips.description, sep="; ")
    print(", ".join(f"{name} {version}" for name, version in environment().items() if name != "processor"))
    print(*(f"{name}: raised layers {layers}" for name, layers in raised.items()), sep="\n")
    print("| what | lowest SNR, dB | least ms | ratio | ratio by round |\n|---|---|---|---|---|")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
