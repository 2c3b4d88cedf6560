"""How long operations report what they are doing."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with a short description at the start of each long step."""


def no_progress(_step: str) -> None:
    """Report no progress."""
