"""One site alone, as a model of its own in each form: what `--autotune` measures."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from exporter.passes.autotune import measure
from exporter.passes.base import nodes_of
from exporter.passes.subgraph import INPUT, extract_subgraph
from exporter.passes.winograd.emit import replace_conv
from exporter.passes.winograd.pattern import IMAGE, ConvMatch, match_conv
from exporter.passes.winograd.tile_shape import TileShape
from models.progress import Progress, no_progress


def measure_tile_shapes(
    site: ConvMatch,
    forms: dict[str, TileShape | None],
    opset: int,
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> dict[str, float]:
    """Run a site's forms in turn on this machine, one clip each.

    Args:
        site: the convolution with what follows it.
        forms: by name; None is the convolution as it stands.
        opset: of the model it stands in.
        progress: told at each step.
        cache: folder of earlier measurements, or None.

    Returns:
        {form: milliseconds}, without those that onnxruntime refused.
    """
    models = {title: ir.to_proto(make_candidate(site, form, opset)) for title, form in forms.items()}
    generator = np.random.default_rng(0)
    x = np.maximum(generator.standard_normal((1, *_shape(site)), dtype=np.float32), 0)  # what a ReLU leaves
    return measure(models, {INPUT: x}, progress, cache)


def make_candidate(
    site: ConvMatch, form: TileShape | None, opset: int, size: tuple[int, ...] | None = None
) -> ir.Model:
    """Return a model of nothing but the site, in `form`; `size` (T, H, W) stands in for its own."""
    shape = _shape(site) if size is None else (site.inputs, *(size[1:] if site.rank == IMAGE else size))
    model = extract_subgraph(site.nodes, opset, shape)
    if form is not None:
        copied = match_conv(nodes_of(model, "Conv")[0])
        assert isinstance(copied, ConvMatch), copied
        replace_conv(model, copied, form, precomputed=False)
    return model


def _shape(site: ConvMatch) -> tuple[int, ...]:
    return (site.inputs, *(site.size[1:] if site.rank == IMAGE else site.size))
