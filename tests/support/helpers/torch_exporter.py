"""torch's ONNX exporter, without the work that it repeats for each export of a process."""

import functools
import importlib

import pytest


def keep_operator_table(patch: pytest.MonkeyPatch) -> None:
    """Make the exporter's table of operators once for each opset: it parses 500 functions, 0.3 s, for each export.

    Nothing changes a table: that takes a `custom_translation_table`. A torch that has no such class is left as it is.
    """
    try:
        registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        patch.setattr(registry, "from_torchlib", staticmethod(functools.cache(registry.from_torchlib)))
    except (ImportError, AttributeError):
        return
