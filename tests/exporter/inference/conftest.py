"""Videos for the tests of inference."""

from pathlib import Path

import pytest
from helpers.colour_videos import write_colours


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Videos of 5, 3 and 2 clips."""
    folder = tmp_path_factory.mktemp("videos")
    counts = {"a.mkv": 40, "b.mkv": 24, "c.avi": 17}
    made = [write_colours(folder / name, count, seed=seed) for seed, (name, count) in enumerate(counts.items())]
    return made[0], made[1], made[2]
