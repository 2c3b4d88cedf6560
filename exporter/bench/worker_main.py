"""A target's own process: it loads one model in one engine and runs it on request.

`python worker_main.py` runs under any Python 3.11 or newer that has numpy and the engine's library. It opens the
adapter that `verify` opens too (`exporter.engines`). Requests are lines of JSON on stdin, replies on stdout:

    {"do": "import", "library": "onnxruntime", "runtime": "module:callable"}
    {"peak": bytes}
    {"do": "load", "path": "m.onnx", "runtime": "module:callable", "options": "gASV…"}
    {"seconds": 0.6, "engine": "onnxruntime 1.32.0 (cpu)"}
    {"do": "feed", "inputs": […], "seed": 0, "warmup": 2, "outputs": ["y"]}
    {"seconds": 0.2, "outputs": [[…]], "peak": bytes}
    {"do": "run", "least": 0.05}
    {"seconds": [0.19, …], "peak": bytes}
    {"do": "rows", "inputs": […], "seed": 0, "outputs": ["y"], "rows": 8, "file": "outputs.npz"}
    {"names": ["y"], "peak": bytes}
    {"do": "multiply", "size": 1024, "library": "torch", "threads": 2, "least": 0.2}
    {"seconds": [0.01, …]}

`options` are pickled `RuntimeOptions` in base64. `feed` draws the inputs, makes the first call (timed) and the warm-up
calls; `run` calls until `least` seconds are over, at least once; `rows` runs each row of the inputs' files, and writes
an array (rows, …) for each output, in the order of `names`. The reply can also be
{"error": {"kind": "missing" | "refused" | "failed", "message": "…"}}. The end of stdin ends the process.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import pickle
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.engines.base import Runtime, RuntimeOptions

MAX_CALLS = 1000
"""Calls in one round."""
MAX_VALUES = 4096
"""Values of each output that are sent back for comparison."""
FAILURES = {"import": "missing", "load": "refused"}
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120


def find_project() -> None:
    """Make this project importable, and nothing else that is installed beside it.

    `exporter/__init__.py` itself is not run: it needs a package that another interpreter lacks.
    """
    for name in ("exporter", "models"):
        package = ModuleType(name)
        package.__path__ = [os.path.join(PROJECT, name)]  # noqa: PTH118
        sys.modules[name] = package


class Session:
    """What one process holds: the loaded model, and the inputs it was last given."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.feeds: dict[str, Any] = {}

    def reply_to(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the request says, and return the reply to send."""
        from exporter.errors import UnavailableError
        from models.errors import first_line
        from models.text import visible

        try:
            return getattr(self, f"do_{request['do']}")(request)
        except Exception as error:  # noqa: BLE001 - engines share no base class, and the parent decides what it means
            unavailable = isinstance(error, ImportError | UnavailableError)
            kind = "missing" if unavailable else FAILURES.get(request["do"], "failed")
            message = first_line(error).removeprefix(visible(f"{request.get('path')}: "))
            return {"error": {"kind": kind, "message": message}}

    def do_import(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Import the engine's library and its adapter."""
        from exporter.engines import import_attribute

        importlib.import_module(request["library"])
        importlib.import_module("numpy")
        import_attribute(request["runtime"])
        return {"peak": peak_memory()}

    def do_load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Load the model, timed."""
        from pathlib import Path

        from exporter.engines import import_attribute

        opener = import_attribute(request["runtime"])
        options: RuntimeOptions = pickle.loads(base64.b64decode(request["options"]))  # noqa: S301 - made by our parent
        self.runtime = opener(Path(request["path"]), options)
        self.runtime.authorize()  # hashing a file is no part of loading it
        start = time.perf_counter()
        self.runtime.load()
        return {"seconds": time.perf_counter() - start, "engine": self.runtime.description}

    def do_feed(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Draw the inputs, call once (timed) and `warmup` times more."""
        self.feeds = draw(request["inputs"], request["seed"])
        assert self.runtime is not None, "load first"
        start = time.perf_counter()
        outputs = self.runtime.run(self.feeds)
        seconds = time.perf_counter() - start
        for _ in range(request["warmup"]):
            self.runtime.run(self.feeds)
        compared = [outputs[name] for name in request["outputs"] or outputs if is_numeric(outputs[name])]
        values = [[float(value) for value in output.reshape(-1)[:MAX_VALUES]] for output in compared]
        return {"seconds": seconds, "outputs": values, "peak": peak_memory()}

    def do_run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call until `least` seconds are over; return each call's seconds."""
        assert self.runtime is not None, "load first"
        run, feeds = self.runtime.run, self.feeds
        return {"seconds": time_calls(lambda: run(feeds), request["least"]), "peak": peak_memory()}

    def do_rows(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run each row of the inputs' files, repeated where the batch is larger, and write the rows' outputs."""
        import numpy as np

        assert self.runtime is not None, "load first"
        found: dict[str, list[Any]] = {}
        for row in range(request["rows"]):
            outputs = self.runtime.run(draw(request["inputs"], request["seed"], row))
            for name in request["outputs"] or outputs:
                if is_numeric(outputs[name]):
                    found.setdefault(name, []).append(np.asarray(outputs[name][:1], np.float64))
        np.savez(request["file"], *(np.concatenate(values) for values in found.values()))
        return {"names": list(found), "peak": peak_memory()}

    def do_multiply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Multiply two square float32 matrices by numpy or torch until `least` seconds are over, after one warm-up."""
        import numpy as np
        import torch

        torch.set_num_threads(request["threads"])
        generator = np.random.default_rng(0)
        a, b = (generator.random((request["size"], request["size"]), dtype=np.float32) for _ in range(2))
        out: Any = np.empty_like(a)
        x, y, z = map(torch.from_numpy, (a, b, out))
        by_numpy = request["library"] == "numpy"
        multiply = (lambda: np.matmul(a, b, out=out)) if by_numpy else lambda: torch.mm(x, y, out=z)
        multiply()
        return {"seconds": time_calls(multiply, request["least"])}


def is_numeric(values: Any) -> bool:
    """Return whether an output is an array of numbers; text and sequences are not compared."""
    return hasattr(values, "dtype") and values.dtype.kind not in "OUSc"


def time_calls(call: Callable[[], object], least: float) -> list[float]:
    """Call until `least` seconds are over, at least once; return each call's seconds."""
    taken: list[float] = []
    over = time.perf_counter() + least
    while len(taken) < MAX_CALLS:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        taken.append(end - start)
        if end >= over:
            break
    return taken


def draw(inputs: list[dict[str, Any]], seed: int, row: int | None = None) -> dict[str, Any]:
    """Return {name: array}: of a file or `values`, drawn from `low` to `high`, else standard normal, or 0 and 1.

    Args:
        inputs: what each is.
        seed: of what is drawn.
        row: fill the batch with this row of the files; None takes them in order.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    drawn: dict[str, Any] = {}
    for value in inputs:
        shape, dtype = tuple(value["shape"]), _dtype(value["dtype"])
        integers = dtype.kind in "biuO" or "int" in dtype.name
        if "path" in value:
            numbers = _read(value["path"], value["array"], shape, row)
        elif "values" in value:
            numbers = np.array(value["values"])
        elif integers:
            numbers = generator.integers(value.get("low", 0), value.get("high", 1), shape, endpoint=True)
        elif "low" in value:
            numbers = generator.uniform(value["low"], value["high"], shape)
        else:
            numbers = generator.standard_normal(shape, dtype=np.float32)
        numbers = np.asarray(numbers).astype(str) if dtype.kind == "O" else np.asarray(numbers)
        drawn[value["name"]] = np.ascontiguousarray(numbers.astype(dtype)).reshape(shape)
    return drawn


def _dtype(name: str) -> Any:
    import numpy as np

    try:
        return np.dtype(name)
    except TypeError:  # bfloat16 and smaller types are in a package that registers them
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))


def _read(path: str, array: str, shape: tuple[int, ...], row: int | None) -> Any:
    """Return the array of a file, its rows, or one of them, repeated until the batch is full."""
    import numpy as np

    loaded: Any = np.load(path, allow_pickle=False)
    values: Any = (loaded[array] if array in loaded.files else loaded[loaded.files[0]]) if array else loaded
    if row is None and values.shape == shape:
        return values
    return np.take(values, np.arange(shape[0]) % len(values) if row is None else [row] * shape[0], axis=0)


def peak_memory() -> int | None:
    """Return the largest resident memory this process has had, in bytes; None where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as stream:  # noqa: PTH123 - one import less
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # no Linux
        return _peak_by_resource()
    return None


def _peak_by_resource() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _private_stdout() -> TextIO:
    """Return a stream to the original stdout, and redirect what libraries print there to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")


def _end_with_parent() -> None:
    """End with the process that asks, also where a library hangs, which does not see the end of stdin."""
    try:
        from exporter.isolation.environment import end_with_parent
    except ImportError:  # this file was copied out of the project
        return
    end_with_parent()


def main() -> None:
    """Reply to requests until stdin ends, or the process that asks."""
    find_project()
    _end_with_parent()
    replies = _private_stdout()
    session = Session()
    for line in sys.stdin:
        replies.write(json.dumps(session.reply_to(json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
