"""Measures which of several variants of an operator is the fastest on this machine, and caches the result.

The variants are small models with the same inputs. They run in interleaved rounds, so that a change of the clock rate
or another busy process affects all of them alike, with onnxruntime's default number of threads; the least time of each
counts. Where other programs use the processor, elapsed times say little: then the processor time of one thread is
measured. A variant replaces the original only if it is faster by more than the noise, `MIN_GAIN`.

Measurements are identified by a hash of the models (without the values of their weights, which do not change the time)
and the inputs' shapes, so that equal layers are measured once. A cache on this machine also depends on the processor,
its cores and onnxruntime's version. What is measured on a busy machine is not cached.
Measurements that an earlier run recorded in a file take precedence over both the cache and the machine, so that the
same record leads to the same choices anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import msgspec
import onnx

from exporter.cpu_load import is_busy
from exporter.engines.ort_sessions import open_cpu_session, quiet_options
from exporter.isolation.worker import native_call
from exporter.system import available_cpus, cpu_model
from exporter.timing import RoundOptions, time_interleaved
from models.cache import cache_folder
from models.paths import atomic_write
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

MIN_GAIN = 0.03
"""A variant must take at least this fraction less time than the original to replace it."""
ROUNDS = RoundOptions(min_rounds=5, max_rounds=15, budget_s=1.5, hopeless=1.3)
WARM_UP = 1
SMALL = 512
"""Integers up to this many bytes (shapes, axes, pads) are part of the cache key; other constants are weights."""
CACHE_VERSION = 2
"""Changes when cached measurements are no longer valid."""


def autotune_folder() -> Path:
    """Return the folder of cached measurements: `tuning` in the project's cache folder."""
    return cache_folder() / "tuning"


@dataclass
class Measurements:
    """Where measured times come from and where they go.

    Attributes:
        folder: the cache of this machine, or None.
        recorded: {key: {variant: milliseconds}} of an earlier run.
        used: those that this run decided by, recorded, cached or new.
        new: the number of those that `recorded` lacks.
        busy: other programs used the processor during one of them at least.
    """

    folder: Path | None = None
    recorded: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    used: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    new: int = 0
    busy: bool = False

    def find(self, candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        """Return the known times of these candidates, or {}."""
        key = variants_key(candidates, feeds)
        known = self.recorded.get(key) or self.used.get(key) or _load_cached(self._path(candidates, feeds))
        return dict(known) if known.keys() <= candidates.keys() else {}

    def add(
        self,
        candidates: Mapping[str, onnx.ModelProto],
        feeds: Mapping[str, NDArray[Any]],
        times: dict[str, float],
        *,
        store: bool,
    ) -> None:
        """Record times that decide; `store` caches them for later runs on this machine."""
        key = variants_key(candidates, feeds)
        self.new += key not in self.recorded and key not in self.used
        self.used[key] = times
        if store:
            _store(self._path(candidates, feeds), times)

    def _path(self, candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]]) -> Path | None:
        return None if self.folder is None else self.folder / f"{cache_key(candidates, feeds)}.json"


def measure(
    candidates: Mapping[str, onnx.ModelProto],
    feeds: Mapping[str, NDArray[Any]],
    progress: Progress = no_progress,
    cache: Measurements | None = None,
) -> dict[str, float]:
    """Return {candidate: least milliseconds of a run} on this machine; of processor time where it is busy.

    Args:
        candidates: models with the same inputs, by name. One that onnxruntime rejects is missing from the result.
        feeds: the inputs.
        progress: called at every candidate and round.
        cache: earlier measurements; these are added to it.
    """
    cache = cache or Measurements()
    times = known = cache.find(candidates, feeds)
    busy = not known and is_busy()
    if not known:
        times = _measure(candidates, feeds, progress, busy)
    cache.busy |= busy
    cache.add(candidates, feeds, times, store=not known and not busy)
    return times


def fastest(times: Mapping[str, float], direct: str) -> str:
    """Return the fastest candidate if it is faster than `direct` by more than `MIN_GAIN`, otherwise `direct`.

    Args:
        times: {candidate: milliseconds}.
        direct: the original variant, which is also returned if it was not measured.
    """
    if direct not in times:
        return direct
    best = min(times, key=lambda name: times[name])
    return best if times[best] < (1 - MIN_GAIN) * times[direct] else direct


def variants_key(candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]]) -> str:
    """Return a hash of the candidates and the inputs' shapes, the same on every machine."""
    return _digest((), candidates, feeds)[:16]


def cache_key(candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]]) -> str:
    """Return a hash of everything that the times depend on, the machine included."""
    import onnxruntime

    return _digest((CACHE_VERSION, cpu_model(), available_cpus(), onnxruntime.__version__), candidates, feeds)[:40]


def _digest(
    machine: tuple[object, ...], candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]]
) -> str:
    digest = hashlib.sha256()
    inputs = [(name, str(values.dtype), values.shape) for name, values in sorted(feeds.items())]
    digest.update(repr((machine, inputs)).encode())
    for name, model in sorted(candidates.items()):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for tensor in copy.graph.initializer:
            if len(tensor.raw_data) > SMALL or tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.raw_data = b""
        digest.update(name.encode() + b"\0" + copy.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _measure(
    candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]], progress: Progress, busy: bool
) -> dict[str, float]:
    """Measure with all threads, or, on a busy machine, the processor time of one."""
    runs: dict[str, Callable[[], object]] = {}
    for name, model in candidates.items():
        progress(f"measuring {name}: loading")
        with contextlib.suppress(Exception):  # a model that onnxruntime rejects; its exceptions share no base class
            run = partial(open_session(model, threads=int(busy)).run, None, dict(feeds))
            for _ in range(WARM_UP):
                with native_call("onnxruntime"):
                    run()
            runs[name] = run
    seconds = time_interleaved(runs, ROUNDS, progress, thread_time if busy else perf_counter)
    return {name: 1e3 * min(times) for name, times in seconds.items()}


def open_session(model: onnx.ModelProto, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session on the CPU, without log messages; 0 threads are as many as there are cores."""
    with native_call("onnxruntime"):
        return open_cpu_session(model.SerializeToString(), quiet_options(threads=threads))


def _load_cached(path: Path | None) -> dict[str, float]:
    """Return an earlier measurement, or {} if there is none that can be read."""
    if path is None:
        return {}
    try:
        times = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return times if all(0 < time < float("inf") for time in times.values()) else {}


def _store(path: Path | None, times: Mapping[str, float]) -> None:
    """Cache a measurement. A cache that cannot be written to is no error: the next run measures again."""
    if path is None or not times:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, msgspec.json.encode(dict(times)))
