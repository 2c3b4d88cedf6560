"""Which of several variants of one operator is the fastest here: they are run, and the result is cached.

The forms are small models with the same inputs. They run in turn, a round after another, so that a drift of the clock
rate or a busy neighbour hits all alike, in sessions as users open them: onnxruntime's own choice of threads. A form
replaces the direct one only where it was faster by more than the noise, `LEAST_GAIN`.

What was measured is kept by hash of the models (without the values of their weights, which do not change the time),
the inputs' shapes, processor, cores and onnxruntime's version.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
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
"""How much faster, as a share of the direct form's time, another form must be measured to replace it."""
ROUNDS = RoundOptions(min_rounds=5, max_rounds=15, budget_s=1.5)
WARM_UP = 2
SMALL = 512
"""Bytes of a constant that can decide the time (shapes, axes, pads); larger ones are weights."""
CACHE_VERSION = 1
"""Goes up when the same key would hold other numbers."""


def autotune_folder() -> Path:
    """Return where measurements are kept: `tuning` in the project's cache folder."""
    return cache_folder() / "tuning"


def measure(
    candidates: Mapping[str, onnx.ModelProto],
    feeds: Mapping[str, NDArray[Any]],
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> dict[str, float]:
    """Return {candidate: median milliseconds of a run} on this machine.

    Args:
        candidates: models with the same inputs, by name. One that onnxruntime refuses is missing from the result.
        feeds: what each is run on.
        progress: called at every candidate and round.
        cache: folder of earlier measurements; None measures anew and keeps nothing.
    """
    place = None if cache is None else cache / f"{signature(candidates, feeds)}.json"
    if (known := _recall(place)) is not None and known.keys() <= candidates.keys():
        return known
    taken = _measure(candidates, feeds, progress)
    _keep(place, taken)
    return taken


def fastest(times: Mapping[str, float], direct: str) -> str:
    """Return the candidate to take: `direct`, unless another was measured faster by more than `LEAST_GAIN`.

    Args:
        times: {candidate: milliseconds}.
        direct: the form that the graph has; where it was not measured nothing is known, and it stays.
    """
    if direct not in times:
        return direct
    best = min(times, key=lambda name: times[name])
    return best if times[best] < (1 - MIN_GAIN) * times[direct] else direct


def signature(candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]]) -> str:
    """Return a hash that is the same only where the same times are to be expected."""
    import onnxruntime

    digest = hashlib.sha256()
    where = (CACHE_VERSION, cpu_model(), available_cpus(), onnxruntime.__version__)
    fed = [(name, str(values.dtype), values.shape) for name, values in sorted(feeds.items())]
    digest.update(repr((where, fed)).encode())
    for name, model in sorted(candidates.items()):
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        for tensor in bare.graph.initializer:
            if len(tensor.raw_data) > SMALL:
                tensor.raw_data = b""
        digest.update(name.encode() + b"\0" + bare.SerializeToString(deterministic=True))
    return digest.hexdigest()[:40]


def _measure(
    candidates: Mapping[str, onnx.ModelProto], feeds: Mapping[str, NDArray[Any]], progress: Progress
) -> dict[str, float]:
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    for name, model in candidates.items():
        progress(f"measuring {name}: loading")
        if (session := _opened(model, feeds)) is not None:
            sessions[name] = session
    runs = {name: partial(session.run, None, dict(feeds)) for name, session in sessions.items()}
    return {name: 1e3 * median(times) for name, times in time_interleaved(runs, ROUNDS, progress).items()}


def _opened(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> onnxruntime.InferenceSession | None:
    """Return a warm session, or None where onnxruntime refuses the model or its inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for _ in range(WARM_UP):
            session.run(None, dict(feeds))
    except Exception:  # noqa: BLE001 - its exceptions share no base class
        return None
    return session


def _recall(place: Path | None) -> dict[str, float] | None:
    """Return what was measured before; a file that cannot be read is as good as none."""
    if place is None:
        return None
    try:
        known = msgspec.json.decode(place.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return known if known and all(0 < taken < float("inf") for taken in known.values()) else None


def _keep(place: Path | None, taken: Mapping[str, float]) -> None:
    """Keep a measurement, where that can be done: a cache that cannot be written to costs only the next run's time."""
    if place is None or not taken:
        return
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, msgspec.json.encode(dict(taken)))
