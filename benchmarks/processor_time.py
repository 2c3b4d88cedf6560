"""Processor time of ONNX files in onnxruntime, interleaved: for machines on which other programs run too.

`python benchmarks/processor_time.py ORIGINAL.onnx OPTIMIZED.onnx... [--rounds 7]`. Two threads that sleep while they
wait, so that waiting does not count; one clip; dynamic axes are 1. Prints the processor time of a run divided by the
two threads, and the ratio to the first file in each round: median, and the tenth and ninetieth percentile. It is the
time that a run takes on two idle cores as far as its operators use both.
"""

import argparse
import time

import numpy as np
import onnxruntime as ort
from measure import machine

THREADS = 2


def main() -> None:
    """Measure the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    print(machine())
    sessions = [open_session(file) for file in given.files]
    inputs = sessions[0].get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in inputs.shape]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    for session in sessions:
        run_ms(session, x)
    times = np.array([[run_ms(session, x) for session in sessions] for _ in range(given.rounds)])
    ratios = times[:, :1] / times
    for column, file in enumerate(given.files):
        low, middle, high = np.quantile(ratios[:, column], [0.1, 0.5, 0.9])
        print(f"{file:50s} {np.median(times[:, column]):8.1f} ms  ratio {middle:.2f} [{low:.2f}, {high:.2f}]")


def open_session(file: str) -> ort.InferenceSession:
    """Return a session whose threads do not spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run_ms(session: ort.InferenceSession, x: np.ndarray) -> float:
    """Return the processor time of a run, in milliseconds, divided by the threads."""
    started = time.process_time()
    session.run(None, {session.get_inputs()[0].name: x})
    return 1e3 * (time.process_time() - started) / THREADS


if __name__ == "__main__":
    main()
