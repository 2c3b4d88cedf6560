"""A target's own process: it loads one model in one engine and runs it on request.

`python worker.py ENGINE.py` runs under any interpreter that has numpy and the engine: nothing of this project is
imported. It takes one JSON object a line on stdin and replies to each with one on stdout:

    {"do": "import"}                                         {"title": "onnxruntime 1.32.0", "peak": bytes}
    {"do": "load", "job": {…}}                               {"seconds": 0.6}
    {"do": "feed", "inputs": […], "seed": 0, "warmup": 2}    {"seconds": 0.2, "outputs": [[…]], "peak": bytes}
    {"do": "run", "least": 0.05}                             {"seconds": [0.19, …]}

`job` is the engine's own business (see `exporter/bench/engines`). `feed` draws the inputs, makes the first call (timed)
and the warm-up calls; `run` calls until `least` seconds are over, at least once. Any of them can return
{"error": {"kind": "missing" | "refused" | "failed", "message": "…"}} instead. The end of stdin ends the process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

MAX_CALLS = 1000
"""In one turn."""
MAX_VALUES = 4096
"""Of each output that are sent back for comparison."""
FAILURES = {"import": "missing", "load": "refused", "feed": "failed", "run": "failed"}


class Session:
    """What one process holds: the engine, the loaded model, and the inputs it was last given."""

    def __init__(self, engine: ModuleType) -> None:
        self.engine = engine
        self.call: Callable[[Mapping[str, Any]], list[Any]] | None = None
        self.feeds: dict[str, Any] = {}

    def reply_to(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the request says, and return the reply to send."""
        try:
            return getattr(self, f"do_{request['do']}")(request)
        except ImportError as error:  # engines raise it for whatever is missing: library, device, compiler
            return _error("missing", error)
        except Exception as error:  # noqa: BLE001 - engines share no base class, and the parent decides what it means
            return _error(FAILURES[request["do"]], error)

    def do_import(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Import the engine's library."""
        title = self.engine.library()
        import numpy as np  # noqa: F401  # pyright: ignore[reportUnusedImport] - counted with the library

        return {"title": title, "peak": peak_memory()}

    def do_load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Load the model, timed."""
        start = time.perf_counter()
        self.call = self.engine.load(request["job"])
        return {"seconds": time.perf_counter() - start}

    def do_feed(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Draw the inputs, call once (timed) and `warmup` times more."""
        self.feeds = draw(request["inputs"], request["seed"])
        assert self.call is not None, "load first"
        start = time.perf_counter()
        outputs = self.call(self.feeds)
        seconds = time.perf_counter() - start
        for _ in range(request["warmup"]):
            self.call(self.feeds)
        values = [[float(value) for value in output.reshape(-1)[:MAX_VALUES]] for output in outputs]
        return {"seconds": seconds, "outputs": values, "peak": peak_memory()}

    def do_run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call until `least` seconds are over; return each call's seconds."""
        assert self.call is not None, "load first"
        call, feeds, taken = self.call, self.feeds, list[float]()
        over = time.perf_counter() + request["least"]
        while len(taken) < MAX_CALLS:
            start = time.perf_counter()
            call(feeds)
            end = time.perf_counter()
            taken.append(end - start)
            if end >= over:
                break
        return {"seconds": taken, "peak": peak_memory()}


def draw(inputs: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return {name: array}: standard normal numbers, or 0 and 1 where the dtype is no floating point."""
    import numpy as np

    generator = np.random.default_rng(seed)
    drawn: dict[str, Any] = {}
    for value in inputs:
        shape, dtype = tuple(value["shape"]), np.dtype(value["dtype"])
        numbers: Any = (
            generator.standard_normal(shape, dtype=np.float32)
            if dtype.kind == "f"
            else generator.integers(2, size=shape)
        )
        drawn[value["name"]] = np.ascontiguousarray(numbers.astype(dtype))
    return drawn


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


def load_engine(path: str) -> ModuleType:
    """Import an engine's module by its file, whatever packages are around."""
    spec = importlib.util.spec_from_file_location("engine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _private_stdout() -> TextIO:
    """Return a stream to what was stdout, and send whatever a library prints there to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")


def _error(kind: str, error: Exception) -> dict[str, Any]:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return {"error": {"kind": kind, "message": lines[0] if lines else type(error).__name__}}


def main() -> None:
    """Answer requests until stdin ends."""
    replies = _private_stdout()
    session = Session(load_engine(sys.argv[1]))
    for line in sys.stdin:
        replies.write(json.dumps(session.reply_to(json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
