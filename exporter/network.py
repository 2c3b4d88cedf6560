"""The interface of a network that can be exported: what `models` builds, and what a user's own module must provide."""

from models.built_model import BuiltModel
from models.checkpoints.info import CheckpointInfo
from models.options import BuildOptions, WeightSelection
from models.preprocessing.recipe import MeanFile, Preprocessing
from models.specs import ConvHint, OutputSpec, Signature, TensorSpec

__all__ = [
    "BuildOptions",
    "BuiltModel",
    "CheckpointInfo",
    "ConvHint",
    "MeanFile",
    "OutputSpec",
    "Preprocessing",
    "Signature",
    "TensorSpec",
    "WeightSelection",
]
