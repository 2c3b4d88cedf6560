"""Axes, the ranges of a Slice, and frame lengths and steps of Fourier transforms."""

from __future__ import annotations

from exporter.parity.input_roles.input_use import InputUse, RoleValue, find_changed, find_removed


def inserted_axes(use: InputUse) -> RoleValue:
    """Return the axes that an Unsqueeze adds."""
    count = 1 if use.count is None else use.count
    return find_removed(use.output_shape, use.input_shape(), count) or [*range(count)]


def squeezed_axes(use: InputUse) -> RoleValue:
    """Return axes of size 1, for Squeeze."""
    data = use.input_shape()
    if data is None:
        return None
    ones = [axis for axis, size in enumerate(data) if size == 1]
    return ones[: len(ones) if use.count is None else use.count]


def reduced_axes(use: InputUse) -> RoleValue:
    """Return the axes that a reduction changes or removes, else the first ones."""
    if use.attribute("keepdims", 1):
        return find_changed(use, use.count)
    count = 1 if use.count is None else use.count
    return find_removed(use.input_shape(), use.output_shape, count) or [*range(count)]


def last_axis(use: InputUse) -> RoleValue:
    """Return the last axis, for a running sum."""
    data = use.input_shape()
    return None if not data else [len(data) - 1]


def signal_axis(use: InputUse) -> RoleValue:
    """The axis of a DFT: any but the last one, of real and imaginary part."""
    data = use.input_shape()
    return None if data is None or len(data) < 2 else (find_changed(use, None) or [1])[:1]


def slice_axes(use: InputUse, count: int | None) -> list[int]:
    """Return the axes of a Slice: constant ones, those that it changes, or by default the first ones."""
    constant = use.constant(3)
    data = use.input_shape()
    if constant is not None:
        return [axis % len(data) if data else axis for axis in constant]
    return find_changed(use, count) if use.has(3) else [*range(count or len(data or ()))]


def slices(use: InputUse) -> list[tuple[int, int]]:
    """Return (start, end) for each axis of a Slice: the middle of the data, half of it or as long as the result."""
    data, target = use.input_shape(), use.output_shape
    axes = slice_axes(use, use.count)
    starts, steps = use.constant(1), use.constant(4)
    ranges: list[tuple[int, int]] = []
    for number, axis in enumerate(axes):
        if data is None or axis >= len(data):
            ranges.append((0, 1))
            continue
        known = target is not None and len(target) == len(data)
        step, size = steps[number] if steps else 1, data[axis]
        length = target[axis] if known and target else (size // abs(step) + 1) // 2
        start = starts[number] if starts else size - 1 if step < 0 else (size - length) // 2 if step == 1 else 0
        end = start + length * step
        ranges.append((start, end if end >= 0 or (starts and starts[number] < 0) else -size - 1))
    return ranges


def frame_length(use: InputUse) -> list[int] | None:
    """Return the length of the frames of an STFT: that of its window, else what its spectrum shows."""
    window, spectrum, constant = use.input_shape(2), use.output_shape, use.constant(3)
    if constant or window:
        return [int(length) for length in (constant or window or ())[:1]]
    if spectrum is None:
        return None
    return [2 * (spectrum[2] - 1) if use.attribute("onesided", 1) else spectrum[2]]


def frame_step(use: InputUse) -> RoleValue:
    """Return the step that makes as many frames as an STFT returns, else half a frame."""
    signal, spectrum, length = use.input_shape(), use.output_shape, frame_length(use)
    if signal is None or length is None:
        return None
    if spectrum is not None and spectrum[1] > 1:
        return [max(1, (signal[1] - length[0]) // (spectrum[1] - 1))]
    return [max(1, length[0] // 2)]


def dft_length(use: InputUse) -> RoleValue:
    """Return the length of a DFT: that of its result where this shows it, else that of the signal."""
    data, target = use.input_shape(), use.output_shape
    if data is None or len(data) < 2:
        return None
    axis = (use.constant(2) or [use.attribute("axis", -2)])[0]
    whole = target is not None and not use.attribute("onesided", 0) and not use.attribute("inverse", 0)
    return [target[axis] if whole and target else data[axis]]
