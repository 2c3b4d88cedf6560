"""The predicted time of a 3-D convolution, direct and in 2-D, with the numbers of `exporter.passes.winograd.cost`."""

from math import prod

from exporter.passes.conv2d_pattern import Conv2dMatch
from exporter.passes.winograd.cost import BLOCKED, FLOPS, VECTOR, VOLUMES, fill_vectors, milliseconds

OVERHEAD_MS = 0.05
"""What the additional operators take however small their tensors are."""


def direct_ms(match: Conv2dMatch) -> float:
    """Return the predicted time of the original, with the Transposes that it needs where its neighbours do without."""
    source, volume, pooled = _numbers(match)
    columns = prod(match.convolved)
    taps = match.channels * prod(match.conv.kernel)
    moved = source + volume + match.outputs * taps
    if max(match.conv.kernel) > 1 or max(match.conv.strides) > 1:
        moved += taps * columns  # the taps of each output, beside each other
    if match.pool is not None:
        moved += volume + pooled
    moved += 2 * source * match.given_frames_first + 2 * pooled * match.wanted_frames_first
    return milliseconds(2 * volume * taps, moved, VOLUMES * FLOPS)


def conv2d_ms(match: Conv2dMatch) -> float:
    """Return the predicted time in 2-D: selected frames, the blocked layout and back, and Transposes that are left.

    The blocked layout fills channels up to whole vectors, of the input where it has at least one.
    """
    source, volume, pooled = _numbers(match)
    taps = match.channels * prod(match.conv.kernel)
    frames = match.convolved[0] * match.conv.kernel[0]
    images = match.channels * frames * prod(match.size[1:])
    moved, selected = images + volume + match.outputs * taps, 0.0
    inputs = match.channels * match.conv.kernel[0]
    filled = (fill_vectors(inputs) / inputs if inputs >= VECTOR else 1.0) * fill_vectors(match.outputs) / match.outputs
    if match.selects:
        selected = milliseconds(2 * images * match.size[0], source + images)
    if inputs >= VECTOR:
        moved += 2 * images
    left = match.outputs * match.convolved[0] * prod(match.pooled[1:])  # of the blocked layout
    if match.pool is not None:
        moved += volume + left
    moved += 2 * left
    if match.pools_frames:
        moved += 3 * left + pooled + 2 * pooled * match.wanted_frames_first
    else:
        moved += 2 * pooled * (not match.wanted_frames_first)
    moved += 2 * source * (not match.given_frames_first)
    return OVERHEAD_MS + selected + milliseconds(2 * volume * taps * filled, moved, BLOCKED * FLOPS)


def _numbers(match: Conv2dMatch) -> tuple[int, int, int]:
    """Return the numbers of the input, of the convolution's output, and of the result."""
    return (
        match.channels * prod(match.size),
        match.outputs * prod(match.convolved),
        match.outputs * prod(match.pooled),
    )
