"""The user's folders are where the environment says, and nowhere for a user without a home."""

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from models.cache import cache_folder, state_folder


@pytest.mark.parametrize(("name", "folder"), [("CACHE", cache_folder), ("STATE", state_folder)])
def test_a_user_without_a_home_has_a_folder_that_nobody_can_make(
    name: str, folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, f"user_{name.lower()}_path", fail)
    monkeypatch.setenv(f"C3D_EXPORT_{name}", "mine")
    assert folder() == Path("mine")
    monkeypatch.delenv(f"C3D_EXPORT_{name}")
    with pytest.raises(OSError, match="Not a directory"):
        folder().mkdir(parents=True, exist_ok=True)
