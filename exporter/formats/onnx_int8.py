"""ONNX files that compute in int8, calibrated.

The float32 graph is made once. The variant of the quantised graph is TensorRT's, or with `--target cpu` the fastest in
onnxruntime on this machine (`exporter.passes.quantize.plans`). The ranges of its activations are measured on the
calibration clips by three methods, of which the one with the highest signal-to-noise ratio on the held-out clips is
taken. Layers that cost most accuracy are then raised to float32 until the required ratio is reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from exporter.artifacts.manifest_fields import RAISED_LAYERS, WEIGHT_DTYPE, OptionValue
from exporter.engines.base import RuntimeOptions
from exporter.errors import UsageError
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.held_out import HeldOut
from exporter.formats.onnx_graph import NetworkGraph, add_passes, make_graph, write_graph
from exporter.passes.raise_layers import Raised, raise_layers
from exporter.types import OptimizeOptions
from models.built_model import BuiltModel
from models.errors import count

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporter.passes.quantize.plans import Plan
    from exporter.passes.quantize.ranges import Ranges

RANGE_METHOD, RANGE_METHODS = "range_method", "range_methods"
"""Options of the manifest: the method that was taken, and `method: decibels` of each."""
INT8_VARIANT, INT8_VARIANTS = "int8_variant", "int8_variants"
"""Options of the manifest: the variant of the quantised graph; with `--target cpu`, `variant: milliseconds` of each."""
MAX_INT8_OPSET = 27
"""The newest opset for whose QuantizeLinear onnxruntime 1.32's CPU provider has a kernel."""


@dataclass(frozen=True)
class Quantization:
    """How the float32 graph is quantised.

    Attributes:
        graph: the float32 graph.
        plan: the variant of the quantised graph.
        ranges: of the chosen method.
        method: its name.
        decibels: {method: the lowest signal-to-noise ratio over held-out clips and outputs}, every layer in int8.
        milliseconds: {variant: the time of a clip}, where variants were measured.
    """

    graph: NetworkGraph
    plan: Plan
    ranges: Ranges
    method: str
    decibels: Mapping[str, float]
    milliseconds: Mapping[str, float] = field(default_factory=dict[str, float])


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
    quantization = _choose(graph, request, held_out)

    def measure(raised: frozenset[str]) -> float:
        done = quantization.plan.apply(graph.model, quantization.ranges, raised)
        return _measure(done.model, held_out)

    for raised in raise_layers(layers, measure, required, request.progress, request.finished):
        yield Candidate(raised.describe("int8", "float32"), partial(_write, quantization, raised, model, request))


def _choose(graph: NetworkGraph, request: WriteRequest, held_out: HeldOut) -> Quantization:
    """Choose the form, measure the ranges by every method, and choose one."""
    from exporter.onnx_io.writer import temporary_file
    from exporter.passes.autotune import Measurements, autotune_folder
    from exporter.passes.graph import infer_shapes
    from exporter.passes.quantize.plans import PORTABLE, fastest_plan, find_activations
    from exporter.passes.quantize.ranges import measure_ranges

    assert request.clips is not None
    infer_shapes(graph.model)
    with temporary_file(graph.model) as path:
        found = measure_ranges(path, find_activations(graph.model), request.clips.calibration, request.progress)
    plan, milliseconds = PORTABLE, dict[str, float]()
    if request.optimize.target == "cpu":
        ranges = next(iter(found.values()))
        plan, milliseconds = fastest_plan(graph.model, ranges, request.progress, Measurements(autotune_folder()))
        request.finished(f"{plan.name}: the fastest of {count(len(milliseconds), 'variant')}")
    decibels = dict[str, float]()
    for method, ranges in found.items():
        request.progress(f"measuring accuracy with ranges by {method}")
        decibels[method] = _measure(plan.apply(graph.model, ranges).model, held_out)
        request.finished(f"ranges by {method}: {decibels[method]:.1f} dB on the held-out clips")
    best = max(decibels, key=decibels.__getitem__)
    return Quantization(graph, plan, found[best], best, decibels, milliseconds)


def _measure(model: ir.Model, held_out: HeldOut) -> float:
    from exporter.engines.onnxruntime import OnnxRuntime
    from exporter.onnx_io.writer import temporary_file

    with temporary_file(model) as path, OnnxRuntime(path, RuntimeOptions()) as runtime:
        return held_out.lowest_snr(runtime)


def _write(
    quantization: Quantization,
    raised: Raised,
    model: BuiltModel,
    request: WriteRequest,
    attempt: Attempt,
) -> WriteResult:
    from exporter.passes.quantize.layers import find_layers

    graph, plan = quantization.graph, quantization.plan
    done = plan.apply(graph.model, quantization.ranges, raised.layers)
    measured = [f"{method}: {decibels:.1f} dB" for method, decibels in quantization.decibels.items()]
    options: dict[str, OptionValue] = {
        **add_passes(graph.options, done),
        "target": request.optimize.target,
        RANGE_METHOD: quantization.method,
        RANGE_METHODS: measured,
        INT8_VARIANT: plan.name,
        WEIGHT_DTYPE: "int8",
    }
    notes = [*graph.notes, f"onnx: ranges by {quantization.method} ({', '.join(measured)} on the held-out clips)"]
    if quantization.milliseconds:
        times = [f"{variant}: {time:.3g} ms" for variant, time in quantization.milliseconds.items()]
        options[INT8_VARIANTS] = times
        notes.append(f"onnx: int8 as {plan.name}, the fastest variant here ({', '.join(times)})")
    if raised.rows:
        options[RAISED_LAYERS] = raised.entries("fp32")
    if all(layer.name in raised.layers for layer in find_layers(graph.model)):
        notes.append("onnx: no layer computes in int8 any more; take --precision fp32, or a lower --min-snr")
    libraries = (*graph.libraries, "onnxruntime")
    quantized = replace(graph, model=done.model, options=options, notes=tuple(notes), libraries=libraries)
    return write_graph(quantized, model, request, attempt)
