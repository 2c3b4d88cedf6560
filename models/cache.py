"""The user's folders: of what can be made again (downloads, measurements), and of what this tool remembers."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

NOWHERE = Path(os.devnull) / "c3d-export"
"""A folder that cannot be created: for a user without a home, optional caches are left out."""


def cache_folder() -> Path:
    """Return `$C3D_EXPORT_CACHE`, or the system's cache folder for this tool (on Linux below `$XDG_CACHE_HOME`)."""
    if own := os.environ.get("C3D_EXPORT_CACHE"):
        return Path(own)
    with contextlib.suppress(RuntimeError):  # neither HOME nor an entry for the user, as in some containers
        return platformdirs.user_cache_path("c3d-export", appauthor=False)
    return NOWHERE


def state_folder() -> Path:
    """Return `$C3D_EXPORT_STATE`, or the system's folder for the state of this tool, below `$XDG_STATE_HOME`."""
    if own := os.environ.get("C3D_EXPORT_STATE"):
        return Path(own)
    with contextlib.suppress(RuntimeError):
        return platformdirs.user_state_path("c3d-export", appauthor=False)
    return NOWHERE


def settings_key(settings: Mapping[str, object]) -> str:
    """Return SHA-256 in hexadecimal of everything that decides a cached result, whatever the order of the keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
