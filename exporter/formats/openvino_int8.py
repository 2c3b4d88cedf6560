"""OpenVINO models that compute in int8: NNCF's post-training quantisation. Needs the extra `int8`.

NNCF measures the ranges of activations on the calibration clips and corrects the biases. Which way of measuring is best
depends on the network and the clips, so several are tried, and the one with the highest signal-to-noise ratio on the
held-out clips is taken. Layers that cost most accuracy are then left out until the required ratio is reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.artifacts.manifest_fields import RAISED_LAYERS, WEIGHT_DTYPE, OptionValue
from exporter.errors import UsageError
from exporter.foreign_logging import import_library, silence_openvino_tools
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.held_out import HeldOut
from exporter.formats.onnx_graph import NetworkGraph, make_graph
from exporter.formats.onnx_int8 import RANGE_METHOD, RANGE_METHODS
from exporter.formats.openvino_model import (
    HINT_OPTION,
    add_preprocessing,
    convert,
    has_bfloat16,
    open_converted,
    write_model,
)
from exporter.openvino_ir import PRECISION_HINT, compile_options
from exporter.passes.raise_layers import Raised, raise_layers
from exporter.types import ComputePrecision, OptimizeOptions
from models.built_model import BuiltModel

QUANTIZED_TYPES = ("Convolution", "GroupConvolution", "MatMul")
"""The operations with weights, which are what layers mean here."""
WITHOUT_BIAS = "/WithoutBiases"
"""What OpenVINO's converter appends to the name of a layer whose bias it adds separately."""


METHODS = {"NNCF's default": "", "minimum and maximum": "MINMAX", "histogram": "HISTOGRAM"}
"""{what the manifest calls a way to measure ranges: the name of its member of
`nncf.quantization.range_estimator.RangeEstimatorParametersSet`, empty for NNCF's default}. NNCF's default averages the
clips' maxima, and so cuts off more than the second. Its preset `mixed` made no difference for networks of ReLU, its
quantiles were worse (3 dB)."""


class Quantizer:
    """Quantises one OpenVINO model.

    Args:
        model: an `openvino.Model` in float32, with one input.
        calibration: (N, …) float32, as its input takes them.
    """

    def __init__(self, model: Any, calibration: NDArray[Any]) -> None:
        self.model = model
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

    def __call__(self, method: str, raised: frozenset[str] = frozenset()) -> Any:
        """Return an `openvino.Model` with every layer in int8 but those in `raised`; `method` is one of `METHODS`."""
        with silence_openvino_tools():
            nncf, parameters, estimators = (
                import_library(f"nncf{module}", "NNCF", "int8")
                for module in ("", ".quantization.advanced_parameters", ".quantization.range_estimator")
            )
            ranges = estimators.RangeEstimatorParametersSet
        with silence_openvino_tools():  # importing NNCF sets its logger's level
            return nncf.quantize(
                self.model,
                nncf.Dataset(self._clips),
                subset_size=len(self._clips),
                ignored_scope=nncf.IgnoredScope(names=[self.nodes[layer] for layer in self.layers if layer in raised]),
                advanced_parameters=parameters.AdvancedQuantizationParameters(
                    activations_range_estimator_params=getattr(ranges, METHODS[method]) if METHODS[method] else None
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
    quantize = Quantizer(float32, clips.calibration)
    if not quantize.layers:
        raise UsageError("--precision int8: the network has no convolution or linear layer")
    held_out = HeldOut(model.without_preprocessing or model, request.outputs, clips.held_out, request.progress)
    decibels: dict[str, float] = {}
    made: dict[frozenset[str], Any] = {}  # the last one: it is the one that is written, if it is accurate enough
    for method in METHODS:
        request.progress(f"quantising, ranges by {method}")
        quantized = quantize(method)
        decibels[method] = _measure(quantized, held_out)
        if method == max(decibels, key=decibels.__getitem__):
            made[frozenset()] = quantized
        request.finished(f"ranges by {method}: {decibels[method]:.1f} dB on the held-out clips")
    best = max(decibels, key=decibels.__getitem__)

    def measure(raised: frozenset[str]) -> float:
        if not raised:
            return decibels[best]
        made.clear()
        made[raised] = quantize(best, raised)
        return _measure(made[raised], held_out)

    for raised in raise_layers(quantize.layers, measure, required, request.progress, request.finished):
        chosen = made.pop(raised.layers, None) or quantize(best, raised.layers)
        yield Candidate(
            raised.describe("int8", _raised_precision()),
            partial(_write, graph, chosen, best, decibels, raised, model, request),
        )


def _raised_precision() -> ComputePrecision:
    """Return what computes all that is not int8: bfloat16 where the processor has instructions for it."""
    return "bf16" if has_bfloat16() else "fp32"


def _measure(quantized: Any, held_out: HeldOut) -> float:
    """Return the lowest signal-to-noise ratio of a model on the held-out clips, opened as the artifact will be."""
    with open_converted(quantized, _raised_precision()) as runtime:
        return held_out.lowest_snr(runtime)


def _write(
    source: NetworkGraph,
    quantized: Any,
    method: str,
    decibels: Mapping[str, float],
    raised: Raised,
    model: BuiltModel,
    request: WriteRequest,
    attempt: Attempt,
) -> WriteResult:
    """Write a quantised model of a float32 graph; `decibels` are those of every method, with every layer in int8."""
    measured = [f"{name}: {reached:.1f} dB" for name, reached in decibels.items()]
    higher = _raised_precision()
    options: dict[str, OptionValue] = {
        **source.options,
        "target": request.optimize.target,
        WEIGHT_DTYPE: "int8",
        RANGE_METHOD: method,
        RANGE_METHODS: measured,
        HINT_OPTION: compile_options(higher)[PRECISION_HINT],
    }
    if raised.rows:
        options[RAISED_LAYERS] = raised.entries(higher)
    notes = (f"openvino: ranges by {method} ({', '.join(measured)} on the held-out clips)",)
    graph = replace(source, options=options, notes=notes, libraries=(*source.libraries, "nncf"))
    return write_model(add_preprocessing(quantized, model, request), graph, request, attempt)
