"""torch's exporters, without the work that they repeat for each export of a process."""

import contextlib
import functools
import importlib

import pytest


def keep_operator_tables(patch: pytest.MonkeyPatch) -> None:
    """Make tables of operators once: of ONNX, with 500 functions to parse, and of torch, with 1,400 names to look up.

    Nothing changes them: that takes a `custom_translation_table`, or operators of one's own that are composite. A torch
    that has them elsewhere is left as it is.
    """
    with contextlib.suppress(ImportError, AttributeError):
        registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        patch.setattr(registry, "from_torchlib", staticmethod(functools.cache(registry.from_torchlib)))
    with contextlib.suppress(ImportError, AttributeError):
        utils = importlib.import_module("torch._export.utils")
        patch.setattr(utils, "_materialize_cpp_cia_ops", functools.cache(utils._materialize_cpp_cia_ops))
