"""What direct convolution could reach at best: a graph's multiply-adds over this machine's matrix product rate.

A direct convolution is a matrix product with its input rearranged, so it computes no faster than the largest matrix
products do (the compute roof of Williams, Waterman and Patterson, Roofline, CACM 2009). An engine that takes less
time computes with fewer multiplications than the graph states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.bench.inputs import Feeds, matching_names
from exporter.bench.targets import THIS_PYTHON
from exporter.bench.types import LowerBound
from exporter.bench.worker_client import Worker, thread_variables
from exporter.engines.reference import cost
from exporter.errors import ArtifactError
from exporter.isolation.worker import file_at_work
from exporter.onnx_io.cast import inline_functions
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.signature import read_signature
from exporter.onnx_io.subgraphs import LAYER_OPERATORS, STANDARD_DOMAINS
from models.errors import first_line

SIZES = (1024, 1536, 2048)
PRODUCTS = ("torch", "numpy")
MIN_SECONDS = 0.2
"""How long each product is repeated; the fastest call counts, because a roof is what the machine can do."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Product:
    """The fastest matrix product: operations a second, and which it was."""

    rate: float
    name: str


def measure_product(worker: Worker, threads: int) -> Product:
    """Time float32 matrix products of several sizes, by numpy's library and by torch's, and return the fastest.

    Args:
        worker: a process of `product_worker`. It imports torch for the first product, and takes seconds for that.
        threads: the thread count that it was started for.

    Raises:
        WorkerError: its process ended.
    """
    found: list[Product] = []
    for size in SIZES:
        for library in PRODUCTS:
            reply = worker.ask("multiply", size=size, library=library, threads=threads, least=MIN_SECONDS)
            found.append(Product(2 * size**3 / min(reply["seconds"]), f"{library}, {size} x {size}"))
    return max(found, key=lambda product: product.rate)


def product_worker(threads: int) -> Worker:
    """Return a process for matrix products on this many threads, not started yet."""
    return Worker(THIS_PYTHON, thread_variables(threads))


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

    Returns:
        The count, and the nodes of the operators `LAYER_OPERATORS` whose shapes are not known.

    Raises:
        ArtifactError: the graph cannot be read, or does not take these sizes.
    """
    model = inline_functions(load_without_weights(path))
    try:
        with file_at_work(path):
            _, shapes = cost.infer_sizes(model, inputs, strict=True)
    except Exception as error:  # onnx raises several classes for invalid graphs
        raise ArtifactError(f"{path}: its sizes cannot be inferred: {first_line(error)}") from error
    nodes = [node for node in model.graph.node if node.op_type in LAYER_OPERATORS and node.domain in STANDARD_DOMAINS]
    total, uncounted = 0, list[str]()
    for node in nodes:
        if shapes.keys() >= {*node.input[:2], node.output[0]}:
            total += cost.count_multiply_adds(node, shapes)
        else:
            uncounted.append(f"{node.name or node.output[0]} ({node.op_type})")
    return total, tuple(uncounted)
