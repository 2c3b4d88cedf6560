"""Frame lengths and steps of Fourier transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.parity.input_roles.site import RoleSite

if TYPE_CHECKING:
    from exporter.parity.input_roles.site import RoleValue


def frame_length(site: RoleSite) -> int | None:
    """Return the length of the frames of an STFT: that of its window, else what its spectrum shows."""
    window, spectrum, constant = site.data(2), site.result, site.constant(3)
    if constant or window:
        return int(constant[0]) if constant else window[0] if window else None
    if spectrum is None:
        return None
    return 2 * (spectrum[2] - 1) if site.attribute("onesided", 1) else spectrum[2]


def frame_step(site: RoleSite) -> RoleValue:
    """Return the step that makes as many frames as an STFT returns, else half a frame."""
    signal, spectrum, length = site.data(), site.result, frame_length(site)
    if signal is None or length is None:
        return None
    if spectrum is not None and spectrum[1] > 1:
        return [max(1, (signal[1] - length) // (spectrum[1] - 1))]
    return [max(1, length // 2)]


def frame_length_value(site: RoleSite) -> RoleValue:
    """Return the length of the frames as the value of an input."""
    length = frame_length(site)
    return None if length is None else [length]


def dft_length(site: RoleSite) -> RoleValue:
    """Return the length of a DFT: that of its result where this shows it, else that of the signal."""
    data, target = site.data(), site.result
    if data is None or len(data) < 2:
        return None
    axis = (site.constant(2) or [site.attribute("axis", -2)])[0]
    whole = target is not None and not site.attribute("onesided", 0) and not site.attribute("inverse", 0)
    return [target[axis] if whole and target else data[axis]]
