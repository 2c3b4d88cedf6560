"""ONNX files that compute in float16, with float32 inputs and outputs: for GPUs.

The float32 graph is made and run once on the calibration clips, which gives the largest magnitude of every value. What
float16 cannot represent stays in float32. Each candidate then leaves further layers in float32, those first whose
rounding costs most, until the emulation of float16 arithmetic is accurate enough on the held-out clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.artifacts.manifest_fields import RAISED_LAYERS, WEIGHT_DTYPE
from exporter.engines.base import RuntimeOptions
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.held_out import HeldOut
from exporter.formats.onnx_graph import NetworkGraph, add_passes, make_graph, write_graph
from exporter.passes.raise_layers import NONE_RAISED, Raised, raise_layers
from models.built_model import BuiltModel
from models.errors import count
from models.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporter.passes.base import PassesResult
    from exporter.passes.float16 import Float16
    from exporter.types import Target

FLOAT32_LAYERS = "float32_layers"
"""Option: `node: reason` for each node that stays in float32 because float16 cannot represent its values."""
CANDIDATE = "float16"


def float16_candidates(model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
    """Yield the float16 graph, then graphs with ever more layers in float32; see `raise_layers`.

    Without clips nothing is measured: the only candidate keeps layers in float32 whose weights do not fit.
    """
    from exporter.onnx_io.writer import temporary_file
    from exporter.passes.float16 import Float16

    target = request.optimize.target
    portable = replace(request.optimize, target="portable")
    graph = make_graph(model, replace(request, optimize=portable))
    clips, required = request.clips, request.precision.required_snr
    if clips is None or required is None:
        yield Candidate(CANDIDATE, partial(_write, graph, Float16(), NONE_RAISED, model, request))
        return
    network = model.without_preprocessing or model
    held_out = HeldOut(network, request.outputs, clips.held_out, request.progress)
    with temporary_file(graph.model) as path:
        ranges = measure_ranges(path, clips.calibration, request.progress)
    first = Float16(ranges)
    _convert(graph.model, first, target)

    def measure(raised: frozenset[str]) -> float:
        from exporter.engines.float16_emulation import Float16Emulation

        converted = _convert(graph.model, Float16(ranges, raised), target)
        with temporary_file(converted.model) as path, Float16Emulation(path, RuntimeOptions()) as runtime:
            return held_out.lowest_snr(runtime)

    for raised in raise_layers(first.layers, measure, required, request.progress, request.finished):
        step = Float16(ranges, raised.layers)
        yield Candidate(raised.describe(CANDIDATE, "float32"), partial(_write, graph, step, raised, model, request))


def measure_ranges(path: Path, clips: NDArray[Any], progress: Progress) -> dict[str, float]:
    """Return {value: its largest magnitude} of every float32 value of a model, inputs included, over clips.

    Args:
        path: a model with one input, in float32.
        clips: (N, …), run one at a time in onnxruntime on the CPU.
        progress: called before every clip.
    """
    from exporter.passes.quantize.ranges import run_clips

    largest: dict[str, float] = {}
    for values in run_clips(path, RuntimeOptions(all_outputs=True), clips, progress):
        for name, value in values.items():
            if getattr(value, "dtype", None) == np.float32:
                # unlike max(), it keeps NaN, which does not fit float16 either
                largest[name] = float(np.maximum(largest.get(name, 0.0), np.abs(value).max(initial=0.0)))
    return largest


def _write(
    graph: NetworkGraph,
    step: Float16,
    raised: Raised,
    model: BuiltModel,
    request: WriteRequest,
    attempt: Attempt,
) -> WriteResult:
    converted = _convert(graph.model, step, request.optimize.target)
    options, notes = {**graph.options, WEIGHT_DTYPE: "fp16"}, list(graph.notes)
    if converted.changed:
        options = {**add_passes(options, converted), "target": request.optimize.target}
        notes.append(f"onnx: rewritten by {', '.join(converted.changed)}")
    if raised.rows:
        options[RAISED_LAYERS] = raised.entries("fp32")
    notes.append(f"onnx: {count(len(step.layers), 'layer')} compute in float16")
    if step.out_of_range:
        options[FLOAT32_LAYERS] = step.out_of_range
        notes += [f"onnx: stays in float32: {reason}" for reason in step.out_of_range]
    written = replace(graph, model=converted.model, options=options, notes=tuple(notes))
    return write_graph(written, model, request, attempt)


def _convert(model: ir.Model, step: Float16, target: Target) -> PassesResult:
    """Return a copy of a model in float16, rewritten for a target; the weights that stay are shared."""
    from exporter.passes.base import PassesResult, run_passes
    from exporter.passes.graph import infer_shapes
    from exporter.passes.pipelines import cuda_passes

    converted = model.clone()
    infer_shapes(converted)
    step(converted)
    if target != "cuda":
        return PassesResult(converted, True, (), ())
    return run_passes(converted, cuda_passes())
