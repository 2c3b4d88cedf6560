"""The interface of a network that can be exported: what `models` builds, and what a user's own module must provide."""

from models.built_model import BuiltModel
from models.options import BuildOptions
from models.specs import ConvHint, OutputSpec, TensorSpec

__all__ = ["BuildOptions", "BuiltModel", "ConvHint", "OutputSpec", "TensorSpec"]
