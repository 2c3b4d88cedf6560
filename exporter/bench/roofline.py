"""What direct convolution could reach at best: a graph's multiply-adds over this machine's matrix product rate.

A direct convolution is a matrix product with its input rearranged, so it computes no faster than the largest matrix
products do (the compute roof of Williams, Waterman and Patterson, Roofline, CACM 2009). An engine that takes less
time computes with fewer multiplications than the graph states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.bench.inputs import Feeds, matching_names
from exporter.bench.targets import THIS_PYTHON
from exporter.bench.types import LowerBound
from exporter.bench.worker_client import Worker, thread_variables
from exporter.errors import ArtifactError
from exporter.isolation.worker import file_at_work
from exporter.onnx_io.inference import infer_shapes
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.signature import read_signature
from models.errors import first_line

if TYPE_CHECKING:
    import onnx

SIZES = (1024, 1536, 2048)
PRODUCTS = ("torch", "numpy")
MIN_SECONDS = 0.2
"""How long each product is repeated; the fastest call counts, because a roof is what the machine can do."""

LARGE = 1024
"""An initialiser of at least this many elements is a weight, on whose values no shape depends."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Product:
    """The fastest matrix product: operations a second, and which it was."""

    rate: float
    name: str


def measure_product(threads: int) -> Product:
    """Time float32 matrix products of several sizes, by numpy's library and by torch's, and return the fastest.

    Raises:
        WorkerError: its process ended.
    """
    found: list[Product] = []
    with Worker(THIS_PYTHON, thread_variables(threads)) as worker:
        for size in SIZES:
            for library in PRODUCTS:
                reply = worker.ask("multiply", size=size, library=library, threads=threads, least=MIN_SECONDS)
                found.append(Product(2 * size**3 / min(reply["seconds"]), f"{library}, {size} x {size}"))
    return max(found, key=lambda product: product.rate)


def find_bounds(
    path: Path, feeds: Feeds, batches: Sequence[int], rate: float
) -> tuple[tuple[LowerBound, ...], tuple[str, ...]]:
    """Return the least time of direct convolution for each batch size, and the nodes that could not be counted.

    Args:
        path: the graph.
        feeds: what targets are given.
        batches: sizes.
        rate: operations a second; a multiply-add is two.

    Raises:
        ArtifactError: the graph cannot be read, or does not take these inputs.
    """
    names = matching_names(path, feeds, read_signature(path))
    bounds: list[LowerBound] = []
    uncounted: tuple[str, ...] = ()
    for batch in batches:
        sizes = dict(zip(names, feeds.sizes(batch).values(), strict=True))
        count, uncounted = count_multiply_adds(path, sizes)
        bounds.append(LowerBound(batch, count, 2 * count / rate))
    return tuple(bounds), uncounted


def count_multiply_adds(path: Path, inputs: Shapes) -> tuple[int, tuple[str, ...]]:
    """Count the multiply-adds of an ONNX graph for inputs of the sizes given.

    Counted are Conv, ConvTranspose, Gemm and MatMul, by what they are defined to compute; padding counts as data.

    Returns:
        The count, and the nodes of these operators whose shapes are not known.

    Raises:
        ArtifactError: the graph cannot be read, or does not take these sizes.
    """
    model = load_without_weights(path)
    shapes = _inferred(model, inputs, path)
    total, uncounted = 0, list[str]()
    for node in model.graph.node:
        rule = RULES.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx"):
            continue
        known = [shapes.get(name) for name in (*node.input[:2], node.output[0])]
        if any(shape is None for shape in known):
            uncounted.append(f"{node.name or node.output[0]} ({node.op_type})")
        else:
            total += rule(node, *(shape or () for shape in known))
    return total, tuple(uncounted)


def _conv(_node: onnx.NodeProto, _x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]) -> int:
    """Each output takes one multiply-add for each weight of its filter: input channels of the group times taps."""
    return prod(y) * prod(w[1:])


def _conv_transpose(_node: onnx.NodeProto, x: tuple[int, ...], w: tuple[int, ...], _y: tuple[int, ...]) -> int:
    """Every input value is multiplied by each weight of its channel: output channels of the group times taps."""
    return prod(x) * prod(w[1:])


def _gemm(node: onnx.NodeProto, a: tuple[int, ...], _b: tuple[int, ...], y: tuple[int, ...]) -> int:
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(y) * a[0 if transposed else 1]


def _matmul(_node: onnx.NodeProto, a: tuple[int, ...], _b: tuple[int, ...], y: tuple[int, ...]) -> int:
    return prod(y) * a[-1]


RULES = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}


def _inferred(model: onnx.ModelProto, inputs: Shapes, path: Path) -> dict[str, tuple[int, ...]]:
    """Return every shape that onnx can infer. Weights are stated by shape alone, so that no copy of them is made."""
    import onnx

    slim = onnx.ModelProto()
    slim.ir_version = model.ir_version
    slim.opset_import.extend(model.opset_import)
    slim.functions.extend(model.functions)
    slim.graph.name = model.graph.name
    slim.graph.node.extend(model.graph.node)
    for value in model.graph.output:  # without sizes: a dynamic batch stated there would hide the one inferred
        slim.graph.output.append(onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None))
    shapes: dict[str, tuple[int, ...]] = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    stated = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    for name, sizes in inputs.items():
        slim.graph.input.append(onnx.helper.make_tensor_value_info(name, stated[name], sizes))
    for tensor in model.graph.initializer:
        if prod(tensor.dims) >= LARGE or tensor.external_data:
            slim.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            slim.graph.initializer.append(tensor)
    try:
        with file_at_work(path):
            inferred = infer_shapes(slim, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx raises several classes for invalid graphs
        raise ArtifactError(f"{path}: its sizes cannot be inferred: {first_line(error)}") from error
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes
