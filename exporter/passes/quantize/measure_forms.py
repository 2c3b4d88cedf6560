"""Which form of an int8 convolution is the fastest on this machine, by measurement."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.passes import autotune
from exporter.passes.autotune import Measurements
from exporter.passes.base import add_initializer, display_name, find_nodes
from exporter.passes.builder import Builder
from exporter.passes.quantize.conv_form import CONTRIB, FORMS, ConvNumbers, ConvSite, Form, emit, match_site
from models.progress import Progress, no_progress

DIRECT = Form()
"""The form that others must beat by more than the noise."""


def choose_forms(
    model: ir.Model, progress: Progress = no_progress, cache: Measurements | None = None
) -> dict[str, tuple[Form, dict[str, float]]]:
    """Return {convolution: (its fastest form, {form: milliseconds})} of a float32 graph's 3-D convolutions.

    Args:
        model: with inferred shapes.
        progress: called at every variant and round.
        cache: earlier measurements.
    """
    chosen: dict[str, tuple[Form, dict[str, float]]] = {}
    for conv in find_nodes(model, "Conv"):
        site = match_site(conv)
        if site is not None:
            name = display_name(conv)
            times = measure_site(
                site, model.graph.opset_imports[""], lambda text, name=name: progress(f"{name}: {text}"), cache
            )
            chosen[name] = {str(form): form for form in FORMS}[autotune.fastest(times, str(DIRECT))], times
    return chosen


def measure_site(
    site: ConvSite, opset: int, progress: Progress = no_progress, cache: Measurements | None = None
) -> dict[str, float]:
    """Return {form: milliseconds} for one clip and random numbers."""
    models = {str(form): ir.to_proto(make_model(site, form, opset)) for form in FORMS if _is_distinct(site, form)}
    x = np.random.default_rng(0).integers(0, 255, (1, *site.size, site.channels), dtype=np.uint8)
    return autotune.measure(models, {"x": x}, progress, cache)


def _is_distinct(site: ConvSite, form: Form) -> bool:
    return not (form.stacked and site.window.kernel[0] == 1 and site.size[0] == 1)


def make_model(site: ConvSite, form: Form, opset: int) -> ir.Model:
    """Return a model of one site: uint8 (N, T, H, W, C) to uint8 (N, T', H', W', K)."""
    generator = np.random.default_rng(0)
    x = ir.Value(name="x", shape=ir.Shape(["n", *site.size, site.channels]), type=ir.TensorType(ir.DataType.UINT8))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": opset, CONTRIB: 1}, name="site")
    model = ir.Model(graph, ir_version=8)
    builder = Builder(model, "site")
    scale = add_initializer(model, "scale", ir.tensor(np.array(0.01, np.float32)))
    zero = add_initializer(model, "zero", ir.tensor(np.array(0, np.uint8)))
    shape = (site.outputs, site.channels, *site.window.kernel)
    numbers = ConvNumbers(
        (scale, zero),
        (scale, zero),
        generator.integers(-126, 127, shape, dtype=np.int8) + np.int8(form.zero_point),
        np.full(site.outputs, 0.01, np.float32),
        np.zeros(site.outputs, np.int32),
    )
    y = emit(builder, x, site, numbers, form)
    y.name, y.type = "y", ir.TensorType(ir.DataType.UINT8)
    graph.extend(builder.nodes)
    graph.outputs.append(y)
    return model
