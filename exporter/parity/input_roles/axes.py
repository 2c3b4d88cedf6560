"""Axes, and the ranges of a Slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.parity.input_roles.input_use import InputUse, find_changed, find_removed

if TYPE_CHECKING:
    from exporter.parity.input_roles.input_use import RoleValue


def inserted_axes(use: InputUse) -> RoleValue:
    """Return the axes that an Unsqueeze adds."""
    count = 1 if use.count is None else use.count
    return find_removed(use.result, use.data(), count) or [*range(count)]


def squeezed_axes(use: InputUse) -> RoleValue:
    """Return axes of size 1, for Squeeze."""
    data = use.data()
    if data is None:
        return None
    ones = [axis for axis, size in enumerate(data) if size == 1]
    return ones[: len(ones) if use.count is None else use.count]


def reduced_axes(use: InputUse) -> RoleValue:
    """Return the axes that a reduction changes or removes, else the first ones."""
    if use.attribute("keepdims", 1):
        return find_changed(use, use.count)
    count = 1 if use.count is None else use.count
    return find_removed(use.data(), use.result, count) or [*range(count)]


def last_axis(use: InputUse) -> RoleValue:
    """Return the last axis, for a running sum."""
    data = use.data()
    return None if not data else [len(data) - 1]


def signal_axis(use: InputUse) -> RoleValue:
    """The axis of a DFT: any but the last one, of real and imaginary part."""
    data = use.data()
    return None if data is None or len(data) < 2 else (find_changed(use, None) or [1])[:1]


def slice_axes(use: InputUse, count: int | None) -> list[int]:
    """Return the axes of a Slice: constant ones, those that it changes, or by default the first ones."""
    constant = use.constant(3)
    data = use.data()
    if constant is not None:
        return [axis % len(data) if data else axis for axis in constant]
    return find_changed(use, count) if use.has(3) else [*range(count or len(data or ()))]


def slices(use: InputUse) -> list[tuple[int, int]]:
    """Return (start, end) for each axis of a Slice: the middle of the data, half of it or as long as the result."""
    data, target = use.data(), use.result
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
