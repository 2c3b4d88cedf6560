"""inspect, `verify X --against X` and optimize over the backend tests of the onnx package and over exported networks.

Every optimised file is compared with its original in onnxruntime, independently of the parity check. A worker process
calls the Python API and maps errors to the exit codes of the command line; a model that takes too long or ends the
process is recorded, and a new worker goes on. Results are kept in a file: another call continues there.

    python benchmarks/corpus.py --into corpus.json --networks NETWORKS --markdown corpus.md

`corpus_networks.py` exports the networks, in the environment of `corpus-requirements.txt`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from corpus_models import CorpusModel, find_models, sample
from corpus_report import write_report
from pieces import Pieces

LOCK = threading.Lock()
TIMEOUT_S, LARGE_TIMEOUT_S = 120.0, 1800.0


class Worker:
    """A process that checks models one after another; it is replaced when it ends or takes too long."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def check(self, model: CorpusModel, timeout: float) -> dict[str, Any]:
        """Return the model's record (`corpus_check.Record`), or `{"stopped": why}` where there is none."""
        if model.is_large:
            self.close()  # a process of its own, so that its peak of memory is this model's
        pipe = self._pipe or self._start()
        try:
            pipe.send(model)
            if pipe.poll(timeout):
                return pipe.recv()
            self.close()
            return {"stopped": f"no result after {timeout:.0f} s"}
        except (EOFError, ConnectionError):
            self.close()
            assert self._process is not None
            return {"stopped": f"the process ended: {_describe_end(self._process.exitcode)}"}

    def _start(self) -> Connection:
        self._pipe, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()  # the worker's end: once the worker is gone, reading raises EOFError
        return self._pipe

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None and self._process is not None:
            self._pipe.close()
            self._process.join(1)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._pipe = None


def _describe_end(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def _serve(pipe: Connection) -> None:
    """Check the models that arrive, until the other end closes."""
    from corpus_check import check

    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # libraries print there from C++
        os.dup2(null, stream)
    while True:
        try:
            model = pipe.recv()
        except EOFError:
            return
        pipe.send(check(model))


def main() -> None:
    """Check what is left of the corpus, and write the report."""
    given = _arguments()
    done = json.loads(given.into.read_text()) if given.into.is_file() else {}
    kept = Pieces(given.into, time.monotonic() + given.seconds, done)
    with tempfile.TemporaryDirectory() as folder:
        models = find_models(given.models or Path(folder), given.networks)
        if given.sample is not None:
            models = sample(models, given.sample, given.seed)
        models = [model for model in models if given.only in model.name]
        left = iter([model for model in models if model.name not in kept.done])
        threads = [threading.Thread(target=_check_models, args=(left, kept)) for _ in range(given.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    text = write_report(kept.done)
    if given.markdown:
        given.markdown.write_text(text)
    print(text)


def _check_models(left: Iterator[CorpusModel], kept: Pieces) -> None:
    """Check models with a worker of this thread's own, until none is left or the time is over."""
    worker = Worker()
    while not kept.over:
        with LOCK:
            model = next(left, None)
        if model is None:
            break
        record = worker.check(model, LARGE_TIMEOUT_S if model.is_large else TIMEOUT_S)
        with LOCK:
            print(f"{len(kept.done)} {model.name}", file=sys.stderr, flush=True)
            kept.keep(model.name, record)
    worker.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="file of the results so far")
    parser.add_argument("--networks", type=Path, action="append", default=[], help="a folder of ONNX files")
    parser.add_argument("--models", type=Path, help="folder that keeps the operator tests [default: temporary]")
    parser.add_argument("--sample", type=int, metavar="N", help="only N random models, and the networks")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", metavar="TEXT", help="only models whose name contains TEXT")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time; another call continues")
    parser.add_argument("--workers", type=int, default=1, help="worker processes; 1 where times are to be compared")
    parser.add_argument("--markdown", type=Path, help="write the report here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
