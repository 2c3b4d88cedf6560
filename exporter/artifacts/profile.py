"""The preprocessing that a manifest records, on the network that was built again for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError, BadInputError
from models.built_model import BuiltModel
from models.options import BuildOptions
from models.preprocessing.profiles import UNKNOWN
from models.preprocessing.recipe import Preprocessing
from models.preprocessing.selection import ChosenProfile, choose_profile, recorded_profile


def with_recorded_profile(
    model: BuiltModel, manifest: Manifest, folder: Path, options: BuildOptions, *, needs_mean: bool
) -> tuple[BuiltModel, tuple[str, ...]]:
    """Return the network with the profile that the options name, otherwise the manifest's, and notes about it.

    Args:
        model: the network; its own profile is the checkpoint's, which `--preprocess` may have overridden at export.
        manifest: records the profile, and the mean file.
        folder: the manifest's.
        options: `preprocess` and `mean`.
        needs_mean: whether the artifact subtracts the mean itself, so that another one gives other outputs.

    Raises:
        ArtifactError: the artifact subtracts a mean file that is not found.
        UsageError, BadInputError: see `choose_profile`.
    """
    recorded = manifest.preprocessing
    if recorded is None or model.preprocessing is None:
        return model, ()
    sizes = [int(length) for length in model.input.shape[2:]]
    size = sizes[0], sizes[1], sizes[2]
    if options.preprocess or options.mean:
        chosen = choose_profile(recorded, size, options.preprocess, options.mean)
    else:
        try:
            chosen = recorded_profile(recorded, size, folder)
        except BadInputError as error:
            if needs_mean:
                raise ArtifactError(str(error)) from error
            chosen = ChosenProfile(replace(recorded, mean_cube=None), notes=(f"{error}; clips take the channel means",))
    notes, own = chosen.notes, model.preprocessing
    asked = options.preprocess or options.mean
    if needs_mean and not asked and own.name != UNKNOWN.name and _numbers(own) != _numbers(recorded):
        notes = (
            *notes,
            f"its preprocessing is compared with the profile that its manifest states, {recorded.name}; that of its "
            f"checkpoint's origin is {own.name}, with other values",
        )
    return replace(model, preprocessing=chosen.preprocessing, mean_cube=chosen.mean_cube), notes


def _numbers(profile: Preprocessing) -> Preprocessing:
    """Return a profile without what describes it, and without the mean file, which `recorded_profile` checks."""
    return replace(profile, name="", source="", mean_file="", mean_cube=None)
