"""The range of each activation on calibration clips, by three methods.

- `min-max`: the smallest and the largest value.
- `percentile`: 99.999 % of the values; the rest are clipped, half of it at each end.
- `entropy`: the range whose quantised distribution has the smallest Kullback-Leibler divergence from the measured one.

Histograms and both ranges are those of `onnxruntime.quantization`, the second computed faster (`quantize.entropy`).
Its calibrators themselves are not used: they write a copy of the model beside a second session, keep every activation
of all clips in memory (200 MB a clip for C3D), and in their default the entropy method has as many bins as quantised
levels, so that it cannot clip anything.

*Source*: Migacz, *8-bit Inference with TensorRT* (2017), for the entropy method.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.engines.base import RuntimeOptions
from exporter.errors import ArtifactError
from exporter.onnx_io.signature import read_signature
from exporter.passes.quantize.entropy import entropy_range
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_MAX, PERCENTILE, ENTROPY = METHODS = ("min-max", "percentile", "entropy")
"""The methods, the simplest first."""
Ranges = Mapping[str, tuple[float, float]]
"""{activation: (lowest, highest)}."""

BINS = 2048
"""Bins of a histogram, from minus to plus the largest magnitude."""
LEVELS = 256
"""Levels that the entropy method quantises a histogram to."""
PERCENT = 99.999
"""Percent of the values inside the percentile range."""


def measure_ranges(
    path: Path, names: Sequence[str], clips: NDArray[Any], progress: Progress = no_progress
) -> dict[str, Ranges]:
    """Return {method: {activation: its range}}; one clip at a time runs in onnxruntime on the CPU.

    Args:
        path: a model with one input, in float32.
        names: the activations: values of the graph, or its input.
        clips: (N, C, T, H, W) float32, at least one.
        progress: called before every clip.

    Raises:
        ArtifactError: an activation is NaN or infinite on a clip.
    """
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        method=ENTROPY, symmetric=False, num_bins=BINS, num_quantized_bins=LEVELS, percentile=PERCENT, scenario="same"
    )
    lowest, highest = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    signature = read_signature(path)
    known = {value.name for value in (*signature.inputs, *signature.outputs)}
    options = RuntimeOptions(extra_outputs=tuple(name for name in names if name not in known))
    for number, values in enumerate(run_clips(path, options, clips, progress), start=1):
        for name in names:
            low, high = float(values[name].min()), float(values[name].max())
            if not np.isfinite([low, high]).all():
                raise ArtifactError(
                    f"{name} is not finite on calibration clip {number}, so it has no range to quantise; "
                    "check the weights and the preprocessing profile"
                )
            lowest[name], highest[name] = min(lowest[name], low), max(highest[name], high)
        _run_silently(collector.collect, {name: [values[name]] for name in names})
    return {
        MIN_MAX: {name: (lowest[name], highest[name]) for name in names},
        PERCENTILE: _thresholds(collector.compute_percentile),
        ENTROPY: {name: _entropy_range(*collector.histogram_dict[name][:4]) for name in names},
    }


def run_clips(path: Path, options: RuntimeOptions, clips: NDArray[Any], progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield {value: array} of a model's input and of what it returns, for one clip after another, on the CPU.

    Args:
        path: a model with one input.
        options: decide which values it returns.
        clips: (N, …); a batch of a fixed size is one clip, repeated.
        progress: called before every clip.
    """
    from exporter.engines.onnxruntime import OnnxRuntime

    with OnnxRuntime(path, options) as runtime:
        (spec,) = runtime.signature.inputs
        for number in range(len(clips)):
            progress(f"measuring ranges: calibration clip {number + 1} of {len(clips)}")
            clip = np.repeat(clips[number : number + 1], runtime.signature.batch or 1, axis=0)
            yield {spec.name: clip, **runtime.run({spec.name: clip})}


def _entropy_range(counts: NDArray[Any], edges: NDArray[Any], lowest: Any, highest: Any) -> tuple[float, float]:
    low, high = entropy_range(counts, edges, LEVELS)
    return max(low, float(lowest)), min(high, float(highest))


def _thresholds(compute: Callable[[], Mapping[str, Sequence[Any]]]) -> Ranges:
    return {name: (float(found[0]), float(found[1])) for name, found in _run_silently(compute).items()}


def _run_silently(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of onnxruntime.quantization, which prints what it does."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)
