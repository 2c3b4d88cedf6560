"""Random ONNX models that onnxruntime runs: networks of a few operators, put together in unusual ways.

A model is a function of a seed. Every node is run in onnxruntime when it is added, and left out where that refuses it, so
no formula of this project decides what is valid.
"""

from helpers.random_graphs.models import RandomModel, make_random_model
from helpers.random_graphs.mutations import mutate

__all__ = ["RandomModel", "make_random_model", "mutate"]
