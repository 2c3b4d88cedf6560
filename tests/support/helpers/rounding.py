"""Lower precision without hardware: a format that rounds weights, and an engine that rounds outputs to bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from exporter.artifacts.manifest_fields import RAISED_LAYERS
from exporter.engines import Engine
from exporter.engines.base import RuntimeOptions, Tensors
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.engines.pytorch import PyTorchRuntime
from exporter.formats import FORMATS
from exporter.formats.base import Candidate, WriteRequest
from exporter.formats.held_out import HeldOut
from exporter.formats.onnx import OnnxFormat
from exporter.onnx_io import precision
from exporter.onnx_io.precision import detect_precision
from exporter.passes.raise_layers import raise_layers
from exporter.results import Precision
from exporter.types import PrecisionOptions
from exporter.workflows import parity_runs
from models.built_model import BuiltModel
from models.preprocessing.network import with_preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = {"conv": 1 / 32, "fc": 1 / 1024}
"""{layer of `helpers.framed.Small`: the step that its weights are rounded to, relative to the largest}."""


def rounded(model: BuiltModel, raised: frozenset[str]) -> BuiltModel:
    """Return the network with the weights of the layers that are not raised rounded."""
    if model.without_preprocessing is not None:
        return with_preprocessing(rounded(model.without_preprocessing, raised))
    network = deepcopy(model.network)
    for name, level in LEVELS.items():
        if name not in raised:
            weight = network.get_submodule(name).weight
            assert isinstance(weight, torch.Tensor)
            step = weight.abs().max() * level
            weight.data = torch.round(weight / step) * step
    return replace(model, network=network)


class RoundingFormat(OnnxFormat):
    """ONNX files that state int8 and whose weights are rounded, layer by layer where `raise_layers` says so."""

    precisions = {"fp32": "", "int8": ""}  # noqa: RUF012 - as the other formats state it

    def candidates(self, model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
        """Yield the files that are accurate enough."""
        clips, required = request.clips, request.precision.required_snr
        if clips is None or required is None:
            yield from super().candidates(model, request)
            return
        held_out = HeldOut(model.without_preprocessing or model, request.outputs, clips.held_out)

        def measure(raised: frozenset[str]) -> float:
            with PyTorchRuntime(rounded(held_out.model, raised), "float32", RuntimeOptions()) as runtime:
                return held_out.lowest_snr(runtime)

        for raised in raise_layers([*LEVELS], measure, required):
            options = {**request.manifest.options, **({RAISED_LAYERS: raised.entries("fp32")} if raised.rows else {})}
            plain = replace(
                request, precision=PrecisionOptions(), manifest=replace(request.manifest, options=options), clips=None
            )
            yield from super().candidates(rounded(model, raised.layers), plain)


def detect_rounded(path: Path, exact: frozenset[str] = frozenset()) -> Precision:
    """Return `int8` for files in which a layer is rounded, in place of `detect_precision`."""
    for tensor in onnx.load(path).graph.initializer:
        layer = tensor.name.removesuffix(".weight")
        if layer in LEVELS:
            weight = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            steps = weight / np.abs(weight).max() / LEVELS[layer]
            if np.abs(steps - np.round(steps)).max() < 1e-3:
                return "int8"
    return detect_precision(path, exact)


def use_rounding_format(monkeypatch: Any) -> None:
    """Let `--format onnx` write such files, and let them be found out as int8.

    They hold the rounded numbers in float32, which nothing in the file explains: without rounding they are no reference.
    """
    monkeypatch.setitem(FORMATS, "onnx", RoundingFormat())
    monkeypatch.setattr(precision, "detect_precision", detect_rounded)
    monkeypatch.setattr(parity_runs, "check_structure", lambda *_: None)


class Bfloat16Runtime(OnnxRuntime):
    """Returns what onnxruntime returns, rounded to bfloat16, and says so."""

    @property
    def precision(self) -> Precision:
        """See `Runtime`."""
        return "bfloat16"

    def run_batch(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """See `Runtime`."""
        found = {name: np.asarray(value, np.float32) for name, value in super().run_batch(feeds).items()}
        return {name: torch.from_numpy(value).bfloat16().float().numpy() for name, value in found.items()}


ENGINE = Engine("bfloat16", "rounding", ("onnx",), "helpers.rounding:Bfloat16Runtime", ("cpu",), "numpy")
