"""The ways in which a network can be quantised, and the fastest of them on this machine.

- *symmetric Q/DQ*: int8 with zero point 0 between QuantizeLinear and DequantizeLinear, biases in float32: TensorRT's
  variant, and the portable one.
- *Q/DQ*: uint8 activations and int32 biases: the variant that onnxruntime's CPU provider turns into its int8 operators
  when it loads the file.
- *QLinearConv, 3-D*: those operators in the file, with channels last.
- *QLinearConv*: each convolution in the variant that is the fastest here by measurement; see `conv_variant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from exporter.errors import C3DExportError
from exporter.passes import autotune
from exporter.passes.autotune import Measurements
from exporter.passes.base import PassesResult, run_passes
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import CancelTransposes
from exporter.passes.cleanup import RemoveDeadCode
from exporter.passes.conv_pattern import ConvMatch, match_volumes
from exporter.passes.decisions import UNDONE
from exporter.passes.graph import add_initializer, display_name, find_nodes, get_shape, infer_shapes
from exporter.passes.quantize.channels_last import ChannelsLastInt8
from exporter.passes.quantize.conv_variant import CONTRIB, CONV_VARIANTS, ConvNumbers, ConvVariant, emit
from exporter.passes.quantize.layers import find_layers
from exporter.passes.quantize.qdq import Activations, QuantizeDequantize, Scheme
from models.progress import Progress, no_progress

Ranges = Mapping[str, tuple[float, float]]
DIRECT = ConvVariant()
"""The variant that others must beat by more than the noise."""


@dataclass(frozen=True)
class Plan:
    """One way to quantise a network.

    Attributes:
        name: what notes and the manifest call it.
        activations: their type.
        quantize_bias: biases are int32.
        variants: {convolution: its variant}, of those that run as QLinearConv.
        times: {convolution: its milliseconds in that variant}, where they were measured.
    """

    name: str
    activations: Activations = "int8"
    quantize_bias: bool = False
    variants: Mapping[str, ConvVariant] = field(default_factory=dict[str, ConvVariant])
    times: Mapping[str, float] = field(default_factory=dict[str, float])

    def apply(self, model: ir.Model, ranges: Ranges, raised: frozenset[str] = frozenset()) -> PassesResult:
        """Return a quantised copy of a float32 model; the weights that stay are shared.

        Args:
            model: the model, which is not changed.
            ranges: {activation: (lowest, highest)}, for those that `find_activations` returns.
            raised: names of layers that stay in float32.

        Raises:
            C3DExportError: a pass failed, which is a fault of this tool or its libraries.
        """
        zero_points = {name: variant.zero_point for name, variant in self.variants.items()}
        scheme = Scheme(ranges, self.activations, self.quantize_bias, raised, zero_points)
        passes = [QuantizeDequantize(scheme)]
        if self.variants:
            passes += [ChannelsLastInt8(scheme, self.variants, self.times), CancelTransposes(), RemoveDeadCode()]
        done = run_passes(model.clone(), passes)
        for row in done.decisions:
            if row.action == UNDONE:
                raise C3DExportError(f"the pass {row.node} failed: {row.reason}")
        return done


PORTABLE = Plan("symmetric Q/DQ")
UNSIGNED = Plan("Q/DQ", "uint8", quantize_bias=True)


def find_activations(model: ir.Model) -> list[str]:
    """Return the names of the activations whose ranges a plan may need: of layers' inputs and convolutions' results."""
    matches = [match_volumes(conv) for conv in find_nodes(model, "Conv")]
    names = [str(layer.source.name) for layer in find_layers(model)]
    return list(dict.fromkeys([*names, *(str(match.result.name) for match in matches if match is not None)]))


def fastest_plan(
    model: ir.Model, ranges: Ranges, progress: Progress = no_progress, cache: Measurements | None = None
) -> tuple[Plan, dict[str, float]]:
    """Return the plan that is the fastest on this machine's CPU in onnxruntime, and {plan: milliseconds of a clip}.

    Args:
        model: a float32 model with one input.
        ranges: of its activations; times do not depend on them.
        progress: called at every variant and round.
        cache: earlier measurements.
    """
    model = model.clone()
    infer_shapes(model)
    chosen = choose_variants(model, progress, cache)
    variants = {name: variant for name, (variant, _) in chosen.items()}
    times = {name: found[str(variant)] for name, (variant, found) in chosen.items() if str(variant) in found}
    plans = [PORTABLE, UNSIGNED]
    if variants:
        plans.append(Plan("QLinearConv, 3-D", "uint8", quantize_bias=True, variants=dict.fromkeys(variants, DIRECT)))
        plans.append(Plan("QLinearConv", "uint8", quantize_bias=True, variants=variants, times=times))
    models = {plan.name: ir.to_proto(plan.apply(model, ranges).model) for plan in plans}
    (source,) = model.graph.inputs
    shape = [size if isinstance(size, int) else 1 for size in get_shape(source) or ()]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    measured = autotune.measure(models, {str(source.name): x}, progress, cache)
    name = autotune.fastest(measured, UNSIGNED.name)
    return next(plan for plan in plans if plan.name == name), measured


def choose_variants(
    model: ir.Model, progress: Progress = no_progress, cache: Measurements | None = None
) -> dict[str, tuple[ConvVariant, dict[str, float]]]:
    """Return {convolution: (its fastest variant, {variant: milliseconds})} of a float32 graph's 3-D convolutions.

    Args:
        model: with inferred shapes.
        progress: called at every variant and round.
        cache: earlier measurements.
    """
    chosen: dict[str, tuple[ConvVariant, dict[str, float]]] = {}
    for conv in find_nodes(model, "Conv"):
        match = match_volumes(conv)
        if match is not None:
            name = display_name(conv)
            times = measure_match(
                match, model.graph.opset_imports[""], lambda text, name=name: progress(f"{name}: {text}"), cache
            )
            fastest = autotune.fastest(times, str(DIRECT))
            chosen[name] = next(variant for variant in CONV_VARIANTS if str(variant) == fastest), times
    return chosen


def measure_match(
    match: ConvMatch, opset: int, progress: Progress = no_progress, cache: Measurements | None = None
) -> dict[str, float]:
    """Return {variant: milliseconds} for one clip and random numbers."""
    models = {
        str(variant): ir.to_proto(make_model(match, variant, opset))
        for variant in CONV_VARIANTS
        if _is_distinct(match, variant)
    }
    x = np.random.default_rng(0).integers(0, 255, (1, *match.size, match.inputs), dtype=np.uint8)
    return autotune.measure(models, {"x": x}, progress, cache)


def _is_distinct(match: ConvMatch, variant: ConvVariant) -> bool:
    return not (variant.stacked and match.window.kernel[0] == 1 and match.size[0] == 1)


def make_model(match: ConvMatch, variant: ConvVariant, opset: int) -> ir.Model:
    """Return a model of one match: uint8 (N, T, H, W, C) to uint8 (N, T', H', W', K)."""
    generator = np.random.default_rng(0)
    x = ir.Value(name="x", shape=ir.Shape(["n", *match.size, match.inputs]), type=ir.TensorType(ir.DataType.UINT8))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": opset, CONTRIB: 1}, name="chain")
    model = ir.Model(graph, ir_version=8)
    builder = Builder(model, "chain")
    scale = add_initializer(model, "scale", ir.tensor(np.array(0.01, np.float32)))
    zero = add_initializer(model, "zero", ir.tensor(np.array(0, np.uint8)))
    shape = (match.outputs, match.inputs, *match.window.kernel)
    numbers = ConvNumbers(
        (scale, zero),
        (scale, zero),
        generator.integers(-126, 127, shape, dtype=np.int8) + np.int8(variant.zero_point),
        np.full(match.outputs, 0.01, np.float32),
        np.zeros(match.outputs, np.int32),
    )
    y = emit(builder, x, match, numbers, variant)
    y.name, y.type = "y", ir.TensorType(ir.DataType.UINT8)
    graph.extend(builder.nodes)
    graph.outputs.append(y)
    return model
