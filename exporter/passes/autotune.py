"""Measures which of several variants of an operator is the fastest on this machine, and caches the result.

The variants are small models with the same inputs. They run in interleaved rounds, so that a change of the clock rate
or another busy process affects all of them alike, with onnxruntime's default number of threads. A variant replaces the
original only if it is faster by more than the noise, `MIN_GAIN`.

The cache key is a hash of the models (without the values of their weights, which do not change the time), the inputs'
shapes, the processor, its cores and onnxruntime's version.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import onnx

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
ROUNDS = RoundOptions(min_rounds=5, max_rounds=15, budget_s=1.5)
WARM_UP = 2
SMALL = 512
"""Constants up to this many bytes (shapes, axes, pads) are part of the cache key; larger ones are weights."""
CACHE_VERSION = 1
"""Changes when cached measurements are no longer valid."""


def autotune_folder() -> Path:
    """Return the folder of cached measurements: `tuning` in the project's cache folder."""
    return cache_folder() / "tuning"


def measure(
    candidates: Mapping[str, onnx.ModelProto],
    feeds: Mapping[str, NDArray[Any]],
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> dict[str, float]:
    """Return {candidate: median milliseconds of a run} on this machine.

    Args:
        candidates: models with the same inputs, by name. One that onnxruntime rejects is missing from the result.
        feeds: the inputs.
        progress: called at every candidate and round.
        cache: folder of earlier measurements; None does not cache.
    """
    path = None if cache is None else cache / f"{cache_key(candidates, feeds)}.json"
    if (cached := _load_cached(path)) is not None and cached.keys() <= candidates.keys():
        return cached
    times = _measure(candidates, feeds, progress)
    _store(path, times)
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


def cache_key(candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]]) -> str:
    """Return a hash of everything that the times depend on."""
    import onnxruntime

    digest = hashlib.sha256()
    machine = (CACHE_VERSION, cpu_model(), available_cpus(), onnxruntime.__version__)
    inputs = [(name, str(values.dtype), values.shape) for name, values in sorted(feeds.items())]
    digest.update(repr((machine, inputs)).encode())
    for name, model in sorted(candidates.items()):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for tensor in copy.graph.initializer:
            if len(tensor.raw_data) > SMALL:
                tensor.raw_data = b""
        digest.update(name.encode() + b"\0" + copy.SerializeToString(deterministic=True))
    return digest.hexdigest()[:40]


def _measure(
    candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]], progress: Progress
) -> dict[str, float]:
    runs: dict[str, Callable[[], object]] = {}
    for name, model in candidates.items():
        progress(f"measuring {name}: loading")
        with contextlib.suppress(Exception):  # a model that onnxruntime rejects; its exceptions share no base class
            run = partial(open_session(model).run, None, dict(feeds))
            for _ in range(WARM_UP):
                run()
            runs[name] = run
    return {name: 1e3 * median(times) for name, times in time_interleaved(runs, ROUNDS, progress).items()}


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session on the CPU with the default options, without log messages."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _load_cached(path: Path | None) -> dict[str, float] | None:
    """Return an earlier measurement, or None if there is none that can be read."""
    if path is None:
        return None
    try:
        times = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return times if times and all(0 < time < float("inf") for time in times.values()) else None


def _store(path: Path | None, times: Mapping[str, float]) -> None:
    """Cache a measurement. A cache that cannot be written to is no error: the next run measures again."""
    if path is None or not times:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, msgspec.json.encode(dict(times)))
