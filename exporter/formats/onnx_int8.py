"""ONNX files that compute in int8, calibrated: convolutions and linear layers between Quantize- and DequantizeLinear.

The float32 graph is made once. Its activations' ranges are measured on the calibration clips by three methods, of which
the one with the highest signal-to-noise ratio on the held-out clips is taken. Layers that cost most accuracy are then
raised to float32 until the required ratio is reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifacts.manifest import RAISED_LAYERS
from exporter.calibration_clips import CalibrationClips
from exporter.engines import RuntimeOptions
from exporter.errors import UsageError
from exporter.formats.base import Candidate, WriteRequest, WriteResult
from exporter.formats.held_out import HeldOut
from exporter.formats.onnx_graph import NetworkGraph, make_graph, write_graph
from exporter.passes.raise_layers import Raised, raise_layers
from exporter.types import OptimizeOptions
from models.built_model import BuiltModel
from models.errors import count
from models.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporter.passes.quantize.qdq import Activations
    from exporter.passes.quantize.ranges import Ranges

RANGE_METHOD, RANGE_METHODS = "range_method", "range_methods"
"""Options of the manifest: the method that was taken, and `method: decibels` of each."""
MAX_INT8_OPSET = 27
"""The newest opset for whose QuantizeLinear onnxruntime 1.32's CPU provider has a kernel."""


@dataclass(frozen=True)
class Calibrated:
    """The float32 graph with the ranges that were chosen.

    Attributes:
        graph: the float32 graph.
        ranges: of the chosen method.
        method: its name.
        decibels: {method: the lowest signal-to-noise ratio over held-out clips and outputs}, every layer in int8.
        activations: their type.
    """

    graph: NetworkGraph
    ranges: Ranges
    method: str
    decibels: Mapping[str, float]
    activations: Activations


def int8_candidates(model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
    """Yield the int8 graph, then graphs with ever more layers in float32; see `raise_layers`.

    Raises:
        UsageError: the opset is too new, or no layer can be quantised.
        ArtifactError: an activation is not finite on a calibration clip.
    """
    from exporter.passes.quantize.layers import find_layers

    if request.opset > MAX_INT8_OPSET:
        raise UsageError(
            f"--precision int8 needs --opset {MAX_INT8_OPSET} or lower: onnxruntime's CPU provider has no "
            f"QuantizeLinear of opset {request.opset}"
        )
    clips, required = request.clips, request.precision.required_snr
    if clips is None or required is None:
        raise UsageError("--precision int8 needs clips to measure ranges on")
    graph = make_graph(model, replace(request, optimize=OptimizeOptions()))  # Winograd's transforms are no int8 layers
    layers = [layer.name for layer in find_layers(graph.model)]
    if not layers:
        raise UsageError("--precision int8: the network has no convolution or linear layer with a constant weight")
    network = model.without_preprocessing or model
    held_out = HeldOut(network, request.outputs, clips.held_out, request.progress)
    calibrated = _calibrate(graph, clips, held_out, request.progress)

    def measure(raised: frozenset[str]) -> float:
        return _measure(_quantize(calibrated, raised), held_out)

    for raised in raise_layers(layers, measure, required, request.progress):
        name = "int8" if not raised.rows else f"int8 with {count(len(raised.rows), 'layer')} in float32"
        yield Candidate(name, partial(_write, calibrated, raised, model, request))


def _calibrate(graph: NetworkGraph, clips: CalibrationClips, held_out: HeldOut, progress: Progress) -> Calibrated:
    """Measure the ranges by every method, and choose one."""
    from exporter.onnx_io.writer import temporary_file
    from exporter.passes.quantize.layers import find_layers
    from exporter.passes.quantize.ranges import measure_ranges

    names = list(dict.fromkeys(str(layer.source.name) for layer in find_layers(graph.model)))
    with temporary_file(graph.model) as path:
        found = measure_ranges(path, names, clips.calibration, progress)
    tried = {method: Calibrated(graph, ranges, method, {}, "int8") for method, ranges in found.items()}
    decibels: dict[str, float] = {}
    for method, calibrated in tried.items():
        progress(f"measuring accuracy with ranges by {method}")
        decibels[method] = _measure(_quantize(calibrated), held_out)
    best = max(decibels, key=decibels.__getitem__)
    return replace(tried[best], decibels=decibels)


def _measure(model: ir.Model, held_out: HeldOut) -> float:
    from exporter.engines.onnxruntime import OnnxRuntime
    from exporter.onnx_io.writer import temporary_file

    with temporary_file(model) as path, OnnxRuntime(path, RuntimeOptions()) as runtime:
        return held_out.lowest_snr(runtime)


def _quantize(calibrated: Calibrated, raised: frozenset[str] = frozenset()) -> ir.Model:
    """Return a quantised copy of the graph; the weights that stay are shared."""
    from exporter.passes.quantize.qdq import QuantizeDequantize
    from exporter.passes.shapes import infer_shapes

    model = calibrated.graph.model.clone()
    infer_shapes(model)
    QuantizeDequantize(calibrated.ranges, calibrated.activations, raised)(model)
    return model


def _write(
    calibrated: Calibrated,
    raised: Raised,
    model: BuiltModel,
    request: WriteRequest,
    folder: Path,
    rejected: tuple[str, ...],
) -> WriteResult:
    graph = calibrated.graph
    measured = [f"{method}: {decibels:.1f} dB" for method, decibels in calibrated.decibels.items()]
    options = {**graph.options, RANGE_METHOD: calibrated.method, RANGE_METHODS: measured}
    notes = [*graph.notes, f"onnx: ranges by {calibrated.method} ({', '.join(measured)} on the held-out clips)"]
    if raised.rows:
        options[RAISED_LAYERS] = raised.entries("fp32")
    quantized = replace(
        graph,
        model=_quantize(calibrated, raised.layers),
        options=options,
        notes=tuple(notes),
        libraries=(*graph.libraries, "onnxruntime"),
    )
    return write_graph(quantized, model, request, folder, rejected)
