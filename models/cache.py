"""The folder for what can be made again: downloads, measurements."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return `$C3D_EXPORT_CACHE`, or the system's cache folder for this tool (on Linux below `$XDG_CACHE_HOME`)."""
    if own := os.environ.get("C3D_EXPORT_CACHE"):
        return Path(own)
    return platformdirs.user_cache_path("c3d-export", appauthor=False)
