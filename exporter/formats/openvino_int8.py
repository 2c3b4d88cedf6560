"""OpenVINO models that compute in int8: NNCF's post-training quantisation. Needs the extra `int8`.

NNCF measures the ranges of activations on the calibration clips and corrects the biases. Which way of measuring is best
depends on the network and the clips, so several are tried, and the one with the highest signal-to-noise ratio on the
held-out clips is taken. Layers that cost most accuracy are then left out until the required ratio is reached.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.artifacts.manifest import RAISED_LAYERS, WEIGHT_DTYPE, OptionValue
from exporter.engines import RuntimeOptions, find_engine
from exporter.errors import UsageError
from exporter.foreign_logging import silence_openvino_tools
from exporter.formats.base import Candidate, WriteRequest, WriteResult
from exporter.formats.held_out import HeldOut
from exporter.formats.onnx_graph import NetworkGraph, make_graph
from exporter.formats.onnx_int8 import RANGE_METHOD, RANGE_METHODS
from exporter.formats.openvino_model import (
    HINT_OPTION,
    add_preprocessing,
    convert,
    has_bfloat16,
    save,
    write_model,
)
from exporter.openvino_ir import PRECISION_HINT, compile_options
from exporter.passes.raise_layers import Raised, raise_layers
from exporter.system import cpu_features
from exporter.types import ComputePrecision, OptimizeOptions
from models.built_model import BuiltModel
from models.errors import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTIZED_TYPES = ("Convolution", "GroupConvolution", "MatMul")
"""The operations with weights, which are what layers mean here."""
WITHOUT_BIAS = "/WithoutBiases"
"""What OpenVINO's converter puts behind the name of a layer whose bias it adds separately."""
VECTOR_INSTRUCTIONS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""Instruction sets that sum products of 8-bit integers in 32 bits. Without them, sums of two products can overflow 16
bits, and NNCF's overflow fix takes 7 bits for the weights of the first layer."""


@dataclass(frozen=True)
class Method:
    """How NNCF measures the ranges of activations.

    Attributes:
        name: what the manifest calls it.
        ranges: the name of its member of `nncf.quantization.range_estimator.RangeEstimatorParametersSet`; empty for
            NNCF's default.
        mixed: ranges that may be asymmetric, where values are not all positive.
    """

    name: str
    ranges: str
    mixed: bool = False


METHODS = (
    Method("NNCF's default", ""),
    Method("mean of each clip's minimum and maximum", "MEAN_MINMAX"),
    Method("minimum and maximum", "MINMAX"),
    Method("minimum and maximum, asymmetric", "MINMAX", mixed=True),
    Method("quantiles", "MEAN_QUANTILE"),
    Method("histogram", "HISTOGRAM"),
)
"""Those that are tried."""


class Quantizer:
    """Quantises one OpenVINO model.

    Args:
        model: an `openvino.Model` in float32, with one input.
        calibration: (N, …) float32, as its input takes them.
        overflow_fix: take 7 bits where a processor without 8-bit vector instructions could overflow.
    """

    def __init__(self, model: Any, calibration: NDArray[Any], *, overflow_fix: bool) -> None:
        self.model, self.overflow_fix = model, overflow_fix
        self.nodes = {
            op.get_friendly_name().removesuffix(WITHOUT_BIAS): op.get_friendly_name()
            for op in model.get_ordered_ops()
            if op.get_type_name() in QUANTIZED_TYPES
        }
        batch = model.inputs[0].get_partial_shape()[0]
        repeats = 1 if batch.is_dynamic else batch.get_length()
        self._clips = [np.repeat(calibration[i : i + 1], repeats, axis=0) for i in range(len(calibration))]

    @property
    def layers(self) -> list[str]:
        """The names of the layers, in the order of the forward pass."""
        return [*self.nodes]

    def quantize(self, method: Method, raised: frozenset[str] = frozenset()) -> Any:
        """Return an `openvino.Model` with every layer in int8 but those in `raised`."""
        with silence_openvino_tools():
            nncf, parameters = import_module("nncf"), import_module("nncf.quantization.advanced_parameters")
            ranges = import_module("nncf.quantization.range_estimator").RangeEstimatorParametersSet
        with silence_openvino_tools():  # importing NNCF sets its logger's level
            ignored = [self.nodes[layer] for layer in self.layers if layer in raised]
            fix = parameters.OverflowFix
            return nncf.quantize(
                self.model,
                nncf.Dataset(self._clips),
                preset=nncf.QuantizationPreset.MIXED if method.mixed else nncf.QuantizationPreset.PERFORMANCE,
                subset_size=len(self._clips),
                ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
                advanced_parameters=parameters.AdvancedQuantizationParameters(
                    overflow_fix=fix.FIRST_LAYER if self.overflow_fix else fix.DISABLE,
                    activations_range_estimator_params=getattr(ranges, method.ranges) if method.ranges else None,
                ),
            )


def int8_candidates(model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
    """Yield the int8 model, then models with ever more layers in the precision of `raised_precision`.

    Raises:
        UsageError: there are no clips, or no layer can be quantised.
    """
    clips, required = request.clips, request.precision.required_snr
    if clips is None or required is None:
        raise UsageError("--precision int8 needs clips to measure ranges on")
    graph = make_graph(model, replace(request, optimize=OptimizeOptions()))  # Winograd's transforms are no int8 layers
    float32 = convert(graph.model)
    fast = bool(cpu_features() & VECTOR_INSTRUCTIONS)
    quantizer = Quantizer(float32, clips.calibration, overflow_fix=not fast or request.optimize.target == "portable")
    if not quantizer.layers:
        raise UsageError("--precision int8: the network has no convolution or linear layer")
    held_out = HeldOut(model.without_preprocessing or model, request.outputs, clips.held_out, request.progress)
    decibels: dict[str, float] = {}
    for method in METHODS:
        request.progress(f"quantising by {method.name}")
        decibels[method.name] = _measure(quantizer.quantize(method), held_out)
    best = max(METHODS, key=lambda method: decibels[method.name])

    def measure(raised: frozenset[str]) -> float:
        return _measure(quantizer.quantize(best, raised), held_out) if raised else decibels[best.name]

    for raised in raise_layers(quantizer.layers, measure, required, request.progress):
        higher = count(len(raised.rows), "layer")
        name = "int8" if not raised.rows else f"int8 with {higher} in {raised_precision()}"
        made = _Quantized(graph, quantizer, best, decibels, raised)
        yield Candidate(name, partial(_write, made, model, request))


@dataclass(frozen=True)
class _Quantized:
    """A candidate before it is made."""

    graph: NetworkGraph
    quantizer: Quantizer
    method: Method
    decibels: Mapping[str, float]
    raised: Raised


def raised_precision() -> ComputePrecision:
    """Return what computes all that is not int8: bfloat16 where the processor has instructions for it."""
    return "bf16" if has_bfloat16() else "fp32"


def _measure(quantized: Any, held_out: HeldOut) -> float:
    """Return the lowest signal-to-noise ratio of a model on the held-out clips, opened as the artifact will be."""
    with tempfile.TemporaryDirectory(prefix="c3d-export-") as folder:
        path, _ = save(quantized, Path(folder), "model", "", compress=False)
        with find_engine("openvino").open(path, RuntimeOptions(precision=raised_precision())) as runtime:
            return held_out.lowest_snr(runtime)


def _write(
    made: _Quantized, model: BuiltModel, request: WriteRequest, folder: Path, rejected: tuple[str, ...]
) -> WriteResult:
    measured = [f"{method}: {decibels:.1f} dB" for method, decibels in made.decibels.items()]
    options: dict[str, OptionValue] = {
        **made.graph.options,
        "target": request.optimize.target,
        WEIGHT_DTYPE: "int8",
        RANGE_METHOD: made.method.name,
        RANGE_METHODS: measured,
        "overflow_fix": made.quantizer.overflow_fix,
        HINT_OPTION: compile_options(raised_precision())[PRECISION_HINT],
    }
    if made.raised.rows:
        options[RAISED_LAYERS] = made.raised.entries(raised_precision())
    notes = (*made.graph.notes, f"openvino: ranges by {made.method.name} ({', '.join(measured)} on the held-out clips)")
    graph = replace(made.graph, options=options, notes=notes, libraries=(*made.graph.libraries, "nncf"))
    quantized = made.quantizer.quantize(made.method, made.raised.layers)
    return write_model(add_preprocessing(quantized, model, request), graph, request, folder, rejected)
