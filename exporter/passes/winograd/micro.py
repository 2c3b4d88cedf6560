"""One site alone, as a model of its own in each form: what `--tune` measures."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from exporter.passes.base import constant, nodes_of
from exporter.passes.shapes import infer_shapes
from exporter.passes.tuning import measure
from exporter.passes.winograd.forms import Form
from exporter.passes.winograd.graph import replace_site
from exporter.passes.winograd.sites import IMAGE, Site, site_of
from models.errors import Progress, quiet

INPUT, OUTPUT = "x", "y"


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
    models = {title: ir.to_proto(alone(site, form, opset)) for title, form in forms.items()}
    generator = np.random.default_rng(0)
    x = np.maximum(generator.standard_normal((1, *_shape(site)), dtype=np.float32), 0)  # what a ReLU leaves
    return measure(models, {INPUT: x}, progress, cache)


def alone(site: Site, form: Form | None, opset: int, size: tuple[int, ...] | None = None) -> ir.Model:
    """Return a model of nothing but the site, in `form`; `size` (T, H, W) stands in for its own."""
    shape = _shape(site) if size is None else (site.inputs, *(size[1:] if site.rank == IMAGE else size))
    x = ir.Value(name=INPUT, shape=ir.Shape(["n", *shape]), type=ir.TensorType(ir.DataType.FLOAT))
    value, nodes = x, list[ir.Node]()
    initializers: list[ir.Value] = []
    for node in site.nodes:
        inputs: list[ir.Value | None] = [value]
        for old in node.inputs[1:]:
            if old is None:
                inputs.append(None)
                continue
            copy = ir.Value(name=old.name, shape=old.shape, type=old.type, const_value=_held(old))
            initializers.append(copy)
            inputs.append(copy)
        nodes.append(ir.Node("", node.op_type, inputs, list(node.attributes.values()), num_outputs=1, name=node.name))
        value = nodes[-1].outputs[0]
        value.name = f"{node.op_type}.out"
    value.name = OUTPUT
    value.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [value], nodes=nodes, initializers=initializers, opset_imports={"": opset}, name="site")
    model = ir.Model(graph, ir_version=10)
    infer_shapes(model)
    if form is not None:
        copied = site_of(nodes_of(model, "Conv")[0])
        assert isinstance(copied, Site), copied
        replace_site(model, copied, form, precomputed=False)
    return model


def _held(value: ir.Value) -> ir.TensorProtocol | None:
    """Return a weight in memory: a session made from bytes does not find what lies in a file."""
    tensor = constant(value)
    return None if tensor is None else ir.tensor(np.array(tensor.numpy()), name=value.name)


def _shape(site: Site) -> tuple[int, ...]:
    return (site.inputs, *(site.size[1:] if site.rank == IMAGE else site.size))
