"""One site alone, as a model of its own in each form: what `--tune` measures."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from exporter.passes.alone import INPUT, alone
from exporter.passes.base import nodes_of
from exporter.passes.tuning import measure
from exporter.passes.winograd.forms import Form
from exporter.passes.winograd.graph import replace_site
from exporter.passes.winograd.sites import IMAGE, Site, site_of
from models.errors import Progress, quiet


def measured(
    site: Site, forms: dict[str, Form | None], opset: int, progress: Progress = quiet, cache: Path | None = None
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
    models = {title: ir.to_proto(formed(site, form, opset)) for title, form in forms.items()}
    generator = np.random.default_rng(0)
    x = np.maximum(generator.standard_normal((1, *_shape(site)), dtype=np.float32), 0)  # what a ReLU leaves
    return measure(models, {INPUT: x}, progress, cache)


def formed(site: Site, form: Form | None, opset: int, size: tuple[int, ...] | None = None) -> ir.Model:
    """Return a model of nothing but the site, in `form`; `size` (T, H, W) stands in for its own."""
    shape = _shape(site) if size is None else (site.inputs, *(size[1:] if site.rank == IMAGE else size))
    model = alone(site.nodes, opset, shape)
    if form is not None:
        copied = site_of(nodes_of(model, "Conv")[0])
        assert isinstance(copied, Site), copied
        replace_site(model, copied, form, precomputed=False)
    return model


def _shape(site: Site) -> tuple[int, ...]:
    return (site.inputs, *(site.size[1:] if site.rank == IMAGE else site.size))
