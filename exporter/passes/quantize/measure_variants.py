"""Which variant of an int8 convolution is the fastest on this machine, by measurement."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.passes import autotune
from exporter.passes.autotune import Measurements
from exporter.passes.builder import Builder
from exporter.passes.conv2d_pattern import Conv2dMatch, match_volumes
from exporter.passes.graph import add_initializer, display_name, find_nodes
from exporter.passes.quantize.conv_variant import (
    CONTRIB,
    CONV_VARIANTS,
    ConvNumbers,
    ConvVariant,
    emit,
)
from models.progress import Progress, no_progress

DIRECT = ConvVariant()
"""The variant that others must beat by more than the noise."""


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
    match: Conv2dMatch, opset: int, progress: Progress = no_progress, cache: Measurements | None = None
) -> dict[str, float]:
    """Return {variant: milliseconds} for one clip and random numbers."""
    models = {
        str(variant): ir.to_proto(make_model(match, variant, opset))
        for variant in CONV_VARIANTS
        if _is_distinct(match, variant)
    }
    x = np.random.default_rng(0).integers(0, 255, (1, *match.size, match.channels), dtype=np.uint8)
    return autotune.measure(models, {"x": x}, progress, cache)


def _is_distinct(match: Conv2dMatch, variant: ConvVariant) -> bool:
    return not (variant.stacked and match.conv.kernel[0] == 1 and match.size[0] == 1)


def make_model(match: Conv2dMatch, variant: ConvVariant, opset: int) -> ir.Model:
    """Return a model of one match: uint8 (N, T, H, W, C) to uint8 (N, T', H', W', K)."""
    generator = np.random.default_rng(0)
    x = ir.Value(name="x", shape=ir.Shape(["n", *match.size, match.channels]), type=ir.TensorType(ir.DataType.UINT8))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": opset, CONTRIB: 1}, name="chain")
    model = ir.Model(graph, ir_version=8)
    builder = Builder(model, "chain")
    scale = add_initializer(model, "scale", ir.tensor(np.array(0.01, np.float32)))
    zero = add_initializer(model, "zero", ir.tensor(np.array(0, np.uint8)))
    shape = (match.outputs, match.channels, *match.conv.kernel)
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
