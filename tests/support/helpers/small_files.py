"""A state_dict of a few numbers under C3D's names, for readers, which look at no shape; and the check of a refusal."""

from pathlib import Path

import numpy as np
import pytest

from helpers.reference import CONVOLUTIONS
from models.checkpoints.readers import read_file
from models.errors import CheckpointError

LAYERS = (*CONVOLUTIONS, "fc6", "fc7", "fc8")

SMALL = {
    f"{layer}.{parameter}": np.arange(6 if parameter == "weight" else 2, dtype=np.float32).reshape(
        (2, 3) if parameter == "weight" else (2,)
    )
    for layer in LAYERS
    for parameter in ("weight", "bias")
}


def refuse(path: Path, match: str) -> None:
    """Reading the file fails with this message, which names the file."""
    with pytest.raises(CheckpointError, match=match) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
