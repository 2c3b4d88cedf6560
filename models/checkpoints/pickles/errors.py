"""The one error of this package."""

from models.errors import CheckpointError


class PickleError(CheckpointError):
    """A pickle is damaged, beyond a limit, or needs what is never done. The message has no path: the reader adds it."""
