"""Profiles by name, and in files of the user: JSON or TOML with the fields of `Preprocessing`."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import msgspec

from models.config import MAX_MANIFEST_BYTES
from models.errors import BadInputError, UsageError, did_you_mean, join_limited
from models.paths import read_small_file
from models.preprocessing.profiles import PROFILES, UNKNOWN
from models.preprocessing.recipe import Preprocessing

MAX_TOML_BYTES = 1 << 14
"""The largest TOML file that is read: keys with many dots take the square of their length in memory."""
MANIFEST_PROFILE = "preprocessing"
"""The field of a manifest that has the profile."""
_OPTIONAL = {"crop": None}
"""What a file may leave out although a profile in Python may not: TOML has no null. So may name and source."""


def find_profile(name_or_file: str | Path) -> Preprocessing:
    """Return the profile of that name, otherwise the one in that file.

    Raises:
        UsageError: no such profile, and no such file.
        BadInputError: the file cannot be read, or has unknown, missing or impossible fields.
    """
    by_name = {profile.name: profile for profile in PROFILES}
    path = Path(name_or_file)
    if isinstance(name_or_file, str) and name_or_file in by_name:
        return by_name[name_or_file]
    if not path.suffix and not path.exists():
        offered = [name for name in by_name if name != UNKNOWN.name]
        similar = did_you_mean(str(name_or_file), offered)
        raise UsageError(
            f"no profile {name_or_file}; known are {', '.join(offered)}; or give a .json or .toml file{similar}"
        )
    return read_profile(path)


def read_profile(path: Path) -> Preprocessing:
    """Read a profile from a JSON file, or a TOML file if its suffix is `.toml`.

    It has the fields of `Preprocessing`; `name` and `source` are the file's name unless it has them, and `crop` may be
    left out for the centre. Of an artifact's manifest it is the profile that it records, without the mean file.

    Raises:
        BadInputError: it cannot be read, or has unknown, missing or impossible fields.
    """
    toml = path.suffix.lower() == ".toml"
    limit = MAX_TOML_BYTES if toml else MAX_MANIFEST_BYTES
    content = read_small_file(path, "preprocessing profile", limit, BadInputError)
    try:
        loaded = tomllib.loads(content.decode()) if toml else msgspec.json.decode(content)
        if not isinstance(loaded, dict):
            raise BadInputError(f"{path}: not a preprocessing profile: it must be an object of fields")
        given = cast("dict[str, Any]", loaded)
        if isinstance(recorded := given.get(MANIFEST_PROFILE), dict):
            given = {name: value for name, value in cast("dict[str, Any]", recorded).items() if name != "mean_cube"}
        known = [field.name for field in fields(Preprocessing) if field.name != "mean_cube"]
        if unknown := [name for name in given if name not in known]:
            raise BadInputError(
                f"{path}: not a preprocessing profile: unknown field {join_limited(unknown)}; "
                f"the fields are {', '.join(known)}"
            )
        stated = {"name": path.stem, "source": f"the file {path.name}"} | _OPTIONAL | given
        profile = msgspec.convert(stated, type=Preprocessing)
    except (ValueError, RecursionError) as error:  # of msgspec, tomllib and the decoding of text
        raise BadInputError(f"{path}: not a preprocessing profile: {error}") from error
    if fault := profile.value_fault():
        raise BadInputError(f"{path}: not a preprocessing profile: {fault}")
    return profile


def format_profile(profile: Preprocessing) -> str:
    """Return a profile as the JSON text that `read_profile` reads back."""
    content = {name: value for name, value in msgspec.to_builtins(profile).items() if name != "mean_cube"}
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
