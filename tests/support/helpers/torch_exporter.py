"""torch's exporters, without the work that they repeat for each export of a process."""

import contextlib
import functools
import hashlib
import importlib
import io
import pickle
from typing import Any

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from exporter.formats import onnx_graph
from models.specs import Signature

MAX_KEPT = 16_000_000
"""Bytes of weights: graphs of larger networks, such as the full one, are not kept."""


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


def keep_graphs(patch: pytest.MonkeyPatch) -> None:
    """Let torch export each network once: a second export of the same classes, attributes and weights is a copy.

    What follows it, from naming the nodes to the file, is done each time. A network of a local class is never kept.
    """
    export = onnx_graph._export  # pyright: ignore[reportPrivateUsage]
    kept: dict[Any, ir.Model] = {}

    def export_once(module: nn.Module, signature: Signature) -> ir.Model:
        key = _identify(module, signature)
        if key is None:
            return export(module, signature)
        if key not in kept:
            kept[key] = _copy(export(module, signature))
        return _copy(kept[key])

    patch.setattr(onnx_graph, "_export", export_once)


def export_anew(patch: pytest.MonkeyPatch) -> None:
    """Let torch export every network each time, for tests of what a second export does."""
    patch.setattr(importlib.import_module(__name__), "_identify", lambda *_: None)


def _identify(module: nn.Module, signature: Signature) -> Any:
    """Return what decides a graph: code, attributes and weights of all modules, and the input. None: it cannot be told."""
    if sum(value.nbytes for value in module.state_dict().values()) > MAX_KEPT:
        return None
    written = io.BytesIO()
    try:
        _ModulePickler(written).dump((module, signature))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return hashlib.sha256(written.getbuffer()).digest(), tuple(type(inner).forward for inner in module.modules())


class _ModulePickler(pickle.Pickler):
    """Writes a tensor as its type, its hash, and which of the tensors before it is in the same memory."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.places: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return None
        values = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        place = self.places.setdefault(obj.data_ptr(), len(self.places))
        layout = (type(obj).__name__, str(obj.dtype), tuple(obj.shape), obj.stride(), obj.requires_grad)
        return *layout, place, hashlib.sha256(values).digest()


def _copy(model: ir.Model) -> ir.Model:
    """Return a graph that shares nothing with another one, nor with the weights of its network."""
    copied = model.clone()
    for value in copied.graph.initializers.values():
        if value.const_value is not None:
            value.const_value = ir.Tensor(value.const_value.numpy().copy(), value.const_value.dtype, name=value.name)
    return copied
