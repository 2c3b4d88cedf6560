"""Multiply-adds against figures by hand, and the measured rate against the same product timed here."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.exported import ExportedByCommand
from helpers.graphs import graph
from numpy.typing import NDArray
from onnx import helper

from exporter.bench import roofline
from exporter.bench.roofline import count_multiply_adds, measure_product, product_worker
from exporter.bench.worker_client import Worker
from exporter.errors import ArtifactError

TAPS = 27
C3D = {
    "conv1": 3 * 64 * TAPS * 16 * 112 * 112,
    "conv2": 64 * 128 * TAPS * 16 * 56 * 56,
    "conv3a": 128 * 256 * TAPS * 8 * 28 * 28,
    "conv3b": 256 * 256 * TAPS * 8 * 28 * 28,
    "conv4a": 256 * 512 * TAPS * 4 * 14 * 14,
    "conv4b": 512 * 512 * TAPS * 4 * 14 * 14,
    "conv5a": 512 * 512 * TAPS * 2 * 7 * 7,
    "conv5b": 512 * 512 * TAPS * 2 * 7 * 7,
    "linear": 8192 * 4096 + 4096 * 4096 + 4096 * 101,
}


@pytest.mark.parametrize("batch", [1, 4])
def test_c3d_is_38_5_billion_a_clip(exported: ExportedByCommand, batch: int) -> None:
    count, uncounted = count_multiply_adds(exported.onnx, {"clip": (batch, 3, 16, 112, 112)})
    assert count == batch * sum(C3D.values())
    assert count / batch == pytest.approx(38.5e9, rel=0.002)
    assert uncounted == ()


GRAPHS: dict[str, tuple[str, dict[str, Any], tuple[int, ...], tuple[int, ...], int]] = {
    # operator, attributes, input, weight, multiply-adds
    "strided": ("Conv", {"strides": [2, 2]}, (1, 4, 9, 9), (6, 4, 3, 3), 6 * 4 * 4 * 4 * 9),
    "groups": ("Conv", {"group": 4}, (2, 8, 5, 5), (8, 2, 3, 3), 2 * 8 * 3 * 3 * 2 * 9),
    "transposed": ("ConvTranspose", {"strides": [2, 2]}, (1, 4, 5, 5), (4, 3, 2, 2), 4 * 5 * 5 * 3 * 2 * 2),
    "matmul, batched": ("MatMul", {}, (7, 2, 3), (3, 5), 7 * 2 * 3 * 5),
    "gemm": ("Gemm", {}, (4, 3), (3, 5), 4 * 3 * 5),
    "gemm, transposed": ("Gemm", {"transA": 1, "transB": 1}, (3, 4), (5, 3), 4 * 3 * 5),
}


def saved(folder: Path, nodes: list[onnx.NodeProto], inputs: dict[str, list[Any]], weight: NDArray[Any]) -> Path:
    """Write a graph from x and the weight w to y, with every size that onnx infers."""
    path = folder / "m.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(graph(nodes, inputs, {"y": None}, {"w": weight})), path)
    return path


@pytest.mark.parametrize("case", GRAPHS)
def test_each_operator_is_counted_by_its_definition(case: str, tmp_path: Path) -> None:
    operator, attributes, shape, weight, expected = GRAPHS[case]
    node = helper.make_node(operator, ["x", "w"], ["y"], **attributes)
    path = saved(tmp_path, [node], {"x": list(shape)}, np.zeros(weight, "float32"))
    assert count_multiply_adds(path, {"x": shape}) == (expected, ())


def test_a_node_of_unknown_size_is_told(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),  # how many there are depends on the values
        helper.make_node("Cast", ["n"], ["f"], to=1),
        helper.make_node("MatMul", ["w", "f"], ["y"], name="product"),
    ]
    path = saved(tmp_path, nodes, {"x": [3, 3]}, np.zeros((4, 2), "float32"))
    assert count_multiply_adds(path, {"x": (3, 3)}) == (0, ("product (MatMul)",))


def test_sizes_that_the_graph_does_not_take_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = saved(tmp_path, [node], {"x": ["n", "k"]}, np.zeros((3, 5), "float32"))
    with pytest.raises(ArtifactError, match="its sizes cannot be inferred"):
        count_multiply_adds(path, {"x": (2, 4)})


def test_the_fastest_product_is_reported_with_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {("numpy", 100): 3e-3, ("torch", 100): 2e-3, ("numpy", 200): 4e-3, ("torch", 200): 5e-3}

    def ask(_worker: Worker, _do: str, library: str, size: int, **_options: object) -> dict[str, list[float]]:
        return {"seconds": [9.0, seconds[library, size]]}

    monkeypatch.setattr(Worker, "ask", ask)
    monkeypatch.setattr(roofline, "SIZES", (100, 200))
    product = measure_product(product_worker(1), threads=1)
    assert product.name == "numpy, 200 x 200"
    assert product.rate == pytest.approx(2 * 200**3 / 4e-3)
