"""The entropy method's range is the one that onnxruntime finds in nine times the time."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from exporter.passes.quantize.entropy import entropy_range

GENERATOR = np.random.default_rng(0)
VALUES: dict[str, list[NDArray[Any]]] = {
    "after a ReLU, the second clip wider": [np.maximum(GENERATOR.normal(0, s, 5000), 0) for s in (1, 1.3)],
    "a heavy tail": [GENERATOR.standard_t(3, 5000)],
    "pixels": [GENERATOR.integers(0, 256, 5000).astype(np.float64)],
    "a few values": [np.array([-3.0, 0.5, 0.5, 7.0])],
    "zeros": [np.zeros(10)],
}


@pytest.mark.parametrize("levels", [16, 254])
@pytest.mark.parametrize("case", VALUES)
def test_the_range_is_onnxruntimes(case: str, levels: int) -> None:
    collector: Any = HistogramCollector(
        method="entropy", symmetric=False, num_bins=300, num_quantized_bins=levels, percentile=99.999, scenario="same"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        for values in VALUES[case]:
            collector.collect({"x": [values.astype(np.float32)]})
    counts, edges, lowest, highest, _ = collector.histogram_dict["x"]
    low, high = entropy_range(counts, edges, levels)
    expected = collector.get_entropy_threshold(collector.histogram_dict["x"], levels)
    assert (max(low, lowest), min(high, highest)) == tuple(map(float, expected))


@pytest.mark.parametrize("seed", range(40))
def test_the_range_is_onnxruntimes_for_any_counts(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = np.floor(generator.pareto(0.5, 61)).astype(np.int64)
    edges = np.linspace(-1, 1, 62, dtype=np.float32)
    collector: Any = HistogramCollector("entropy", False, 61, 10, 99.999, "same")
    expected = collector.get_entropy_threshold((counts, edges, np.float32(-1), np.float32(1), 1), 10)
    assert entropy_range(counts, edges, 10) == tuple(map(float, expected))
