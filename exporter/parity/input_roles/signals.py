"""Frame lengths and steps of Fourier transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.parity.input_roles.input_use import InputUse

if TYPE_CHECKING:
    from exporter.parity.input_roles.input_use import RoleValue


def frame_length(use: InputUse) -> int | None:
    """Return the length of the frames of an STFT: that of its window, else what its spectrum shows."""
    window, spectrum, constant = use.data(2), use.result, use.constant(3)
    if constant or window:
        return int(constant[0]) if constant else window[0] if window else None
    if spectrum is None:
        return None
    return 2 * (spectrum[2] - 1) if use.attribute("onesided", 1) else spectrum[2]


def frame_step(use: InputUse) -> RoleValue:
    """Return the step that makes as many frames as an STFT returns, else half a frame."""
    signal, spectrum, length = use.data(), use.result, frame_length(use)
    if signal is None or length is None:
        return None
    if spectrum is not None and spectrum[1] > 1:
        return [max(1, (signal[1] - length) // (spectrum[1] - 1))]
    return [max(1, length // 2)]


def frame_length_value(use: InputUse) -> RoleValue:
    """Return the length of the frames as the value of an input."""
    length = frame_length(use)
    return None if length is None else [length]


def dft_length(use: InputUse) -> RoleValue:
    """Return the length of a DFT: that of its result where this shows it, else that of the signal."""
    data, target = use.data(), use.result
    if data is None or len(data) < 2:
        return None
    axis = (use.constant(2) or [use.attribute("axis", -2)])[0]
    whole = target is not None and not use.attribute("onesided", 0) and not use.attribute("inverse", 0)
    return [target[axis] if whole and target else data[axis]]
