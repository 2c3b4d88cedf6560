from .builder import build, rebuild
from .built_model import BuiltModel
from .c3d import C3D
from .checkpoints.info import CheckpointInfo
from .options import BuildOptions, WeightSelection
from .preprocessing.recipe import Preprocessing
from .specs import ConvHint, OutputSpec, Signature, TensorSpec

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
