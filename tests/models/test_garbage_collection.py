"""The cycle collector is paused, and afterwards as it was."""

import gc

import pytest

from models.garbage_collection import garbage_collection_paused


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was_also_after_an_error(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(ValueError, match="damaged"), garbage_collection_paused():
            assert not gc.isenabled()
            raise ValueError("damaged")
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()
