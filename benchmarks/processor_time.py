"""Processor time of ONNX files in onnxruntime, interleaved: for machines on which other programs run too.

`python benchmarks/processor_time.py ORIGINAL.onnx OPTIMIZED.onnx... [--rounds 7]`. Two threads that sleep while they
wait, so that waiting does not count; one clip; dynamic axes are 1. Prints the processor time of a run divided by the
two threads, and the ratio to the first file in each round: median, and the tenth and ninetieth percentile. It is the
time that a run takes on two idle cores as far as its operators use both. `--openvino` adds OpenVINO in float32 on the
first file.
"""

import argparse
import importlib
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime as ort
from measure import machine
from numpy.typing import NDArray

from exporter.openvino_ir import compile_options

THREADS = 2


def main() -> None:
    """Measure the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--openvino", action="store_true", help="also run the first file in OpenVINO")
    given = parser.parse_args()
    print(machine())
    sessions = [open_session(file) for file in given.files]
    inputs = sessions[0].get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in inputs.shape]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    targets: dict[str, Callable[[], object]] = {
        file: partial(session.run, None, {inputs.name: x}) for file, session in zip(given.files, sessions, strict=True)
    }
    if given.openvino:
        targets["OpenVINO"] = open_in_openvino(given.files[0], x)
    for run in targets.values():
        run_ms(run)
    times = np.array([[run_ms(run) for run in targets.values()] for _ in range(given.rounds)])
    ratios = times[:, :1] / times
    for column, file in enumerate(targets):
        low, middle, high = np.quantile(ratios[:, column], [0.1, 0.5, 0.9])
        print(f"{file:50s} {np.median(times[:, column]):8.1f} ms  ratio {middle:.2f} [{low:.2f}, {high:.2f}]")


def open_session(file: str) -> ort.InferenceSession:
    """Return a session whose threads do not spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def open_in_openvino(file: str, x: NDArray[np.float32]) -> Callable[[], object]:
    """Return a run of a file in OpenVINO, with this package's settings: float32 arithmetic, for latency."""
    openvino = importlib.import_module("openvino")
    model = openvino.Core().read_model(file)
    model.reshape(list(x.shape))
    compiled = openvino.Core().compile_model(
        model, "CPU", {**compile_options("fp32"), "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS}
    )
    return lambda: compiled([x], share_inputs=True)


def run_ms(run: Callable[[], object]) -> float:
    """Return the processor time of a run, in milliseconds, divided by the threads."""
    started = time.process_time()
    run()
    return 1e3 * (time.process_time() - started) / THREADS


if __name__ == "__main__":
    main()
