"""Models in onnxruntime, without this package's parity code: do two files return the same, and which is faster?"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from exporter.bench.statistics import paired_ratio
from exporter.timing import RoundOptions, time_interleaved

RELATIVE_TOLERANCE = 1e-3
"""Of the largest number of an output: the relative tolerance of onnx's own backend tests."""
ROUNDS = RoundOptions(min_rounds=9, max_rounds=25, budget_s=6.0, warm_up=2, cooldown_s=0.01)
FREE_SIZE = {0: 1}
"""What a free size becomes by its axis; other axes take `OTHER_FREE_SIZE`."""
OTHER_FREE_SIZE = 16
TYPES_NUMPY_LACKS = re.compile(r"bfloat16|float8|float4|int4|int2\b")


@dataclass(frozen=True)
class Speed:
    """Two files in interleaved rounds.

    Attributes:
        original_ms: median milliseconds of the original.
        optimized_ms: median milliseconds of the optimised file.
        speedup: median over the rounds of original over optimised.
        low: lower bound of the 95 % interval of that median.
        high: upper bound.
    """

    original_ms: float
    optimized_ms: float
    speedup: float
    low: float
    high: float


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a model with onnxruntime's default settings, on the CPU and without its log."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def make_feeds(session: onnxruntime.InferenceSession, given: Sequence[Any] | None, seed: int = 0) -> dict[str, Any]:
    """Return what to feed: the inputs of onnx's test, or random numbers where there are none.

    Raises:
        ValueError: there are none, and an input is no tensor of floating-point numbers.
    """
    inputs = session.get_inputs()
    if given is not None:
        return {value.name: _as_fed(array) for value, array in zip(inputs, given, strict=False) if array is not None}
    random = np.random.default_rng(seed)
    return {value.name: _random(value, random) for value in inputs}


def _as_fed(value: Any) -> Any:
    """Return an input of a test as onnxruntime takes it: types that NumPy lacks as a tensor of their packed bytes."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) or value.dtype.type.__module__ == "numpy":
        return value
    tensor = numpy_helper.from_array(value)
    wrapped = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(tensor.dims), tensor.data_type)
    ctypes.memmove(wrapped.data_ptr(), tensor.raw_data, len(tensor.raw_data))
    return wrapped


def _random(value: Any, random: np.random.Generator) -> Any:
    if value.type not in ("tensor(float)", "tensor(double)", "tensor(float16)"):
        raise ValueError(f"input {value.name} is {value.type}, and onnx gives no value for it")
    fixed = [size if isinstance(size, int) and size > 0 else None for size in value.shape]
    shape = [size or FREE_SIZE.get(axis, OTHER_FREE_SIZE) for axis, size in enumerate(fixed)]
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}[value.type]
    return random.standard_normal(shape).astype(dtype)


def run(session: onnxruntime.InferenceSession, feeds: dict[str, Any]) -> list[Any]:
    """Return the outputs; those of types that NumPy lacks as their bytes."""
    if not any(TYPES_NUMPY_LACKS.search(value.type) for value in (*session.get_inputs(), *session.get_outputs())):
        return list(session.run(None, feeds))
    wrapped = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in feeds.items()
    }
    return [_as_array(value) for value in session.run_with_ort_values(None, wrapped)]


def _as_array(value: onnxruntime.OrtValue) -> Any:
    if not TYPES_NUMPY_LACKS.search(value.data_type()):
        return value.numpy()
    return np.frombuffer(ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()), np.uint8)


def find_difference(original: Sequence[Any], optimized: Sequence[Any]) -> tuple[str | None, float]:
    """Return what differs, None if nothing, and the largest error relative to an output's largest number."""
    largest = 0.0
    if len(original) != len(optimized):
        return f"{len(optimized)} outputs instead of {len(original)}", largest
    for index, (expected, actual) in enumerate(zip(original, optimized, strict=True)):
        difference, error = _difference(expected, actual)
        largest = max(largest, error)
        if difference is not None:
            return f"output {index}: {difference}", largest
    return None, largest


def _difference(expected: Any, actual: Any) -> tuple[str | None, float]:
    """Return what differs between two values of an output: tensors, sequences, maps or None."""
    if isinstance(expected, (list, tuple)):
        return find_difference(expected, actual if isinstance(actual, (list, tuple)) else [actual])
    if isinstance(expected, dict) or expected is None:
        return (None if expected == actual else "another value"), 0.0
    expected, actual = np.asarray(expected), np.asarray(actual)
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return f"{actual.dtype} {actual.shape} instead of {expected.dtype} {expected.shape}", 0.0
    if expected.dtype.kind in "fc":
        return _float_difference(expected, actual)
    return (None if np.array_equal(expected, actual) else "other integers, labels or strings"), 0.0


def _float_difference(expected: NDArray[Any], actual: NDArray[Any]) -> tuple[str | None, float]:
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], actual[~finite], equal_nan=True) or not np.isfinite(actual[finite]).all():
        return "other infinities or NaN", 0.0
    wide = np.result_type(expected.dtype, np.float64)
    numbers = expected[finite].astype(wide)
    error = np.abs(numbers - actual[finite].astype(wide)).max(initial=0.0)
    scale = np.abs(numbers).max(initial=0.0)
    relative = float(error / scale) if scale > 0 else float(error)
    # half precision rounds more coarsely than the tolerance of the tests
    allowed = max(RELATIVE_TOLERANCE, 8 * float(np.finfo(expected.dtype).eps))
    return (f"relative error {relative:.1e}" if relative > allowed else None), relative


def compare_speed(
    original: onnxruntime.InferenceSession, optimized: onnxruntime.InferenceSession, feeds: dict[str, Any]
) -> Speed:
    """Time two models in interleaved rounds."""
    seconds = time_interleaved(
        {"original": lambda: run(original, feeds), "optimized": lambda: run(optimized, feeds)}, ROUNDS
    )
    ratio = paired_ratio(seconds["original"], seconds["optimized"])
    original_ms, optimized_ms = (float(np.median(seconds[name])) * 1e3 for name in ("original", "optimized"))
    return Speed(original_ms, optimized_ms, ratio.value, ratio.low, ratio.high)
