"""Which of two models is faster, by running both."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal

from exporter.workflows.optimization.speed import LARGE_BYTES, Speed, compare_speed
from models.specs import Signature


def chain(length: int, path: Path) -> Path:
    """Save `length` products of 256 rows with a 256x256 matrix, one after another."""
    names = ["x", *(f"t{i}" for i in range(length - 1)), "y"]
    nodes = [node("MatMul", f"{names[i]} w", names[i + 1]) for i in range(length)]
    onnx.save(graph(nodes, {"x": ("n", 256)}, {"y": ("n", 256)}, {"w": normal(256, 256) / 16}), path)
    return path


def feeds(signature: Signature) -> dict[str, np.ndarray]:
    assert [value.name for value in signature.inputs] == ["x"]
    return {"x": normal(256, 256)}


@pytest.mark.parametrize("weight_bytes", [0, LARGE_BYTES + 1], ids=["side by side", "one at a time"])
def test_the_model_with_less_to_compute_is_faster(weight_bytes: int, tmp_path: Path) -> None:
    short, long = chain(1, tmp_path / "short.onnx"), chain(12, tmp_path / "long.onnx")
    speed = compare_speed(long, short, feeds, weight_bytes)
    assert speed.faster
    assert speed.low <= speed.speedup <= speed.high
    assert speed.rewritten_ms < speed.original_ms
    assert not compare_speed(short, long, feeds, weight_bytes).faster


def test_a_gain_within_the_noise_is_none() -> None:
    assert not Speed(1.01, 1.0, 1.02, 10, 9.9, 9).faster
    assert Speed(1.05, 0.99, 1.1, 10, 9.5, 9).faster
