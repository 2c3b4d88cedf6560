"""Which profile applies: the user's, otherwise the one that is recorded; and the mean file that goes with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import BadInputError, UsageError
from models.pooling import Sizes, format_size
from models.preprocessing.files import find_profile
from models.preprocessing.profiles import PROFILES, UNKNOWN
from models.preprocessing.recipe import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ChosenProfile:
    """A profile that fits a network's clips.

    Attributes:
        preprocessing: the profile; None for clips that are not in colour.
        mean_cube: (3, T, h, w), float32: what is subtracted instead of the profile's channel means; None for those.
        notes: what the user should know of it, a sentence each.
    """

    preprocessing: Preprocessing | None
    mean_cube: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()


NO_PROFILE = ChosenProfile(None)
UNKNOWN_PROFILE = ChosenProfile(UNKNOWN)


def choose_profile(
    own: Preprocessing, size: Sizes, preprocess: str | Path | None = None, mean: Path | None = None
) -> ChosenProfile:
    """Return the profile that the options name, otherwise the network's own, with the mean file that is given.

    A profile by name is scaled for clips of another size than it states; one of a file is taken as it is.

    Args:
        own: the profile that the weights came with.
        size: (T, h, w) of a clip.
        preprocess: a profile's name, or a file with one.
        mean: a mean file.

    Raises:
        UsageError: no such profile, or its crop does not fit the clip.
        BadInputError: a file cannot be used, or the network's own profile does not fit the clip.
    """
    profile = own
    notes: list[str] = []
    if preprocess is not None:
        profile = find_profile(preprocess)
        profile = profile.scaled(*size[1:]) if profile in PROFILES else profile
        if own.name not in (UNKNOWN.name, profile.name):
            notes.append(f"--preprocess {profile.name} overrides the checkpoint's profile, {own.name}")
    if fault := profile.fault(*size[1:]):
        error = BadInputError if preprocess is None else UsageError
        raise error(f"the profile {profile.name} does not fit clips of {format_size(size[1:])}: {fault}")
    if mean is None:
        return ChosenProfile(replace(profile, mean_cube=None), notes=(*notes, *describe_fallback(profile)))
    from models.preprocessing.mean import fit_mean, load_mean  # imports torch

    array, record = load_mean(mean)
    cube = fit_mean(array, profile, size, mean)
    return ChosenProfile(replace(profile, mean_cube=record), cube, tuple(notes))


def recorded_profile(recorded: Preprocessing, size: Sizes, folder: Path) -> ChosenProfile:
    """Return the profile of a manifest, with its mean file from where it was or from the manifest's folder.

    Args:
        recorded: the manifest's profile.
        size: (T, h, w) of a clip.
        folder: the manifest's.

    Raises:
        BadInputError: the mean file is not there, is another file now, or cannot be read.
    """
    record = recorded.mean_cube
    if record is None:
        return ChosenProfile(recorded, notes=describe_fallback(recorded))
    from models.preprocessing.mean import fit_mean, load_mean

    places = [folder / name for name in (record.path, record.file) if name]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        tried = " or ".join(dict.fromkeys(map(str, places)))
        raise BadInputError(f"the mean file {record.file} is not at {tried}; name it with --mean")
    array, present = load_mean(found)
    if present.sha256 != record.sha256:
        raise BadInputError(
            f"{found}: is not the mean file that was recorded (SHA-256 {present.sha256[:16]}…, not "
            f"{record.sha256[:16]}…); name it with --mean"
        )
    return ChosenProfile(recorded, fit_mean(array, recorded, size, found))


def describe_fallback(profile: Preprocessing) -> tuple[str, ...]:
    """Return a note where an origin subtracts a mean file and the channel means stand in for it."""
    file = profile.mean_cube.file if profile.mean_cube else profile.mean_file
    if not file:
        return ()
    means = ", ".join(f"{value:g}" for value in profile.mean)
    return (f"{profile.name} subtracts {file}; without --mean FILE the channel means ({means}) are subtracted",)
