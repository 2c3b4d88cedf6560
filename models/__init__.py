"""The networks: what C3D is, how it is built, and how a checkpoint of any origin becomes its weights.

* `models.config`: names, shapes and conventions, without torch.
* `models.c3d`: the network itself.
* `models.builder`: `build()`, the one way to get a ready network and to know where its weights came from.
* `models.checkpoints`: readers (one for each file format) and layouts (one for each origin).
* `models.preprocessing`: what the pixels must look like before the network sees them.

Nothing here knows of export. The names below are imported on first use, because `models.config` must not cost an
import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.builder import build, rebuild
    from models.built_model import BuiltModel
    from models.c3d import C3D
    from models.checkpoints.info import CheckpointInfo
    from models.options import BuildOptions, WeightSelection
    from models.preprocessing import Preprocessing
    from models.specs import ConvHint, OutputSpec, Signature, TensorSpec

__all__ = [
    "C3D",
    "BuildOptions",
    "BuiltModel",
    "CheckpointInfo",
    "ConvHint",
    "OutputSpec",
    "Preprocessing",
    "Signature",
    "TensorSpec",
    "WeightSelection",
    "build",
    "rebuild",
]

_HOMES = {
    "BuildOptions": "models.options",
    "BuiltModel": "models.built_model",
    "C3D": "models.c3d",
    "CheckpointInfo": "models.checkpoints.info",
    "ConvHint": "models.specs",
    "OutputSpec": "models.specs",
    "Preprocessing": "models.preprocessing",
    "Signature": "models.specs",
    "TensorSpec": "models.specs",
    "WeightSelection": "models.options",
    "build": "models.builder",
    "rebuild": "models.builder",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'models' has no attribute {name!r}")
