"""Processor time of ONNX files and other artifacts, interleaved: for machines on which other programs run too.

    python benchmarks/processor_time.py ORIGINAL.onnx OTHER... [--rounds 7] [--batch 4] [--threads 1] [--openvino]

Threads sleep while they wait, so that waiting does not count; dynamic axes other than the batch are 1. ONNX files run
in onnxruntime, other artifacts as their manifests say. Prints the processor time of a run divided by the threads, its
least and its median, and how many times as fast as the first file each is in the same round: median, and the tenth and
ninetieth percentile. With two threads it is the time that a run takes on two idle cores as far as its operators use
both. `--openvino` adds OpenVINO on the first file, in float32 or in the precision that follows, and may be repeated.
PyTorch's formats count right with one thread only: its threads do not sleep.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from measure import machine
from numpy.typing import NDArray

from exporter.engines import find_engine
from exporter.engines.base import Runtime, RuntimeOptions
from exporter.formats import load_artifact, runtime_options

Clips = NDArray[np.float32]


def main() -> None:
    """Measure the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--openvino",
        action="append",
        nargs="?",
        const="fp32",
        default=[],
        choices=("fp32", "bf16"),
        help="also run the first file in OpenVINO",
    )
    given = parser.parse_args()
    print(f"{machine()}; {given.threads} threads, batch {given.batch}, {given.rounds} rounds")
    original = open_session(given.files[0], given.threads)
    (inputs,) = original.get_inputs()
    sizes = [size if isinstance(size, int) else 1 for size in inputs.shape[1:]]
    x = np.random.default_rng(0).standard_normal((given.batch, *sizes), dtype=np.float32)
    with ExitStack() as stack:
        runs = {str(file): open_file(stack, file, x, given.threads) for file in given.files}
        for precision in given.openvino:
            options = RuntimeOptions(precision=precision)
            engine = find_engine("onnx", "openvino").open(
                given.files[0], limited(options, inputs.name, x, given.threads)
            )
            runs[f"OpenVINO {precision}"] = enter(stack, engine, x)
        for run in runs.values():
            run_ms(run, given.threads)
        times = np.array([[run_ms(run, given.threads) for run in runs.values()] for _ in range(given.rounds)])
    ratios = times[:, :1] / times
    for column, name in enumerate(runs):
        low, middle, high = np.quantile(ratios[:, column], [0.1, 0.5, 0.9])
        least, usual = times[:, column].min(), np.median(times[:, column])
        print(f"{name:50s} least {least:7.1f} median {usual:7.1f} ms  ratio {middle:.2f} [{low:.2f}, {high:.2f}]")


def open_file(stack: ExitStack, file: Path, x: Clips, threads: int) -> Callable[[], object]:
    """Return a run of an ONNX file in onnxruntime, or of another artifact in its engine."""
    if file.suffix == ".onnx":
        session = open_session(file, threads)
        return partial(session.run, None, {session.get_inputs()[0].name: x})
    artifact = load_artifact(file)
    assert artifact.manifest is not None, f"{file} has no manifest"
    (inputs,) = artifact.manifest.signature.inputs
    options = limited(runtime_options(artifact), inputs.name, x, threads)
    return enter(stack, find_engine(artifact.format).open(file, options), x)


def limited(options: RuntimeOptions, name: str, x: Clips, threads: int) -> RuntimeOptions:
    """Return the options for this many threads and inputs of this shape."""
    return replace(options, threads=threads, input_shapes={name: x.shape})


def enter(stack: ExitStack, runtime: Runtime, x: Clips) -> Callable[[], object]:
    """Load a model, and return a run of it."""
    stack.enter_context(runtime)
    (inputs,) = runtime.signature.inputs
    return partial(runtime.run, {inputs.name: x})


def open_session(file: Path, threads: int) -> ort.InferenceSession:
    """Return a session whose threads do not spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run_ms(run: Callable[[], object], threads: int) -> float:
    """Return the processor time of a run, in milliseconds, divided by the threads."""
    started = time.process_time()
    run()
    return 1e3 * (time.process_time() - started) / threads


if __name__ == "__main__":
    main()
