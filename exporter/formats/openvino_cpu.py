"""OpenVINO models for this machine's processor: the graph that OpenVINO runs fastest here, by measurement.

The cost model of the passes is that of onnxruntime, so that their graphs are candidates here, and no more: in OpenVINO
the Winograd graph was 1.7 times as fast as the portable one with AVX-512, and another processor may say otherwise. The
order of operators in it is OpenVINO's (`exporter.passes.winograd.emit_points`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from exporter.artifacts.manifest_fields import OptionValue
from exporter.formats.base import Attempt, Candidate, WriteRequest, WriteResult
from exporter.formats.onnx_graph import NetworkGraph, make_graph
from exporter.formats.openvino_model import add_preprocessing, convert, open_converted, write_model
from exporter.passes.tiles import describe_tiles, tile_candidates
from exporter.timing import RoundOptions, time_interleaved
from exporter.types import OptimizeOptions
from models.built_model import BuiltModel

VARIANT, MEASURED = "variant", "measured"
"""Options of the manifest: the graph that was taken, and `graph: milliseconds` of each."""
ROUNDS = RoundOptions(min_rounds=5, max_rounds=15, budget_s=5.0, warm_up=2)


@dataclass(frozen=True)
class Variant:
    """A graph that may be the fastest.

    Attributes:
        name: what messages call it.
        graph: where its options and notes are.
        model: an `openvino.Model` of the network alone.
    """

    name: str
    graph: NetworkGraph
    model: Any


def cpu_candidates(model: BuiltModel, request: WriteRequest) -> Iterator[Candidate]:
    """Yield the graph of the passes for CPUs, then that with smaller tiles, which round less, then the portable one.

    Only the portable one, where OpenVINO runs it at least as fast.
    """
    rewritten, *smaller = tile_candidates(replace(request.optimize, weight_dtype="fp32", engine="openvino"))
    variants = [_make(model, request, options) for options in (rewritten, OptimizeOptions())]
    clip = (model.without_preprocessing or model).input
    sizes = [size if isinstance(size, int) else 1 for size in clip.shape[1:]]
    taken = measure(variants, (request.manifest.signature.batch or 1, *sizes), request)
    first, plain = variants
    if taken[first.name] < taken[plain.name]:
        yield Candidate(first.name, partial(_write, first, taken, model, request))
        for options in smaller:
            variant = _make(model, request, options)
            yield Candidate(variant.name, partial(_write, variant, taken, model, request))
    yield Candidate(plain.name, partial(_write, plain, taken, model, request))


def _make(model: BuiltModel, request: WriteRequest, options: OptimizeOptions) -> Variant:
    name = describe_tiles(options)
    request.progress(f"converting {name}")
    graph = make_graph(model, replace(request, optimize=options))
    return Variant(name, graph, convert(graph.model))


def measure(variants: Sequence[Variant], shape: tuple[int, ...], request: WriteRequest) -> dict[str, float]:
    """Return {variant: median milliseconds for an input of `shape`}, measured in turns."""
    clip = np.random.default_rng(0).standard_normal(shape, np.float32)
    with contextlib.ExitStack() as stack:
        runs: dict[str, Callable[[], object]] = {}
        for variant in variants:
            runtime = stack.enter_context(open_converted(variant.model, request.precision.compute))
            (spec,) = runtime.signature.inputs
            runs[variant.name] = partial(runtime.run, {spec.name: clip})
        seconds = time_interleaved(runs, ROUNDS, request.progress)
    return {name: 1e3 * median(found) for name, found in seconds.items()}


def _write(
    variant: Variant,
    taken: dict[str, float],
    model: BuiltModel,
    request: WriteRequest,
    attempt: Attempt,
) -> WriteResult:
    measured = [f"{name}: {milliseconds:.3g} ms" for name, milliseconds in taken.items()]
    stated: dict[str, OptionValue] = {"target": "cpu", VARIANT: variant.name, MEASURED: measured}
    options = {**variant.graph.options, **stated}
    chosen = f"openvino: measured here: {', '.join(measured)}; the file holds {variant.name}"
    notes = (*variant.graph.notes, chosen)
    graph = replace(variant.graph, options=options, notes=notes)
    return write_model(add_preprocessing(variant.model, model, request), graph, request, attempt)
