"""Which of two models is faster, by running both."""

from itertools import count
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal

from exporter.engines.base import RuntimeOptions
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.errors import ArtifactError, UsageError
from exporter.workflows.optimization import speed as speed_module
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
    assert isinstance(speed, Speed)
    assert speed.faster
    assert speed.low <= speed.speedup <= speed.high
    assert speed.rewritten_ms < speed.original_ms
    slower = compare_speed(short, long, feeds, weight_bytes)
    assert isinstance(slower, Speed)
    assert not slower.faster


@pytest.mark.parametrize("weight_bytes", [0, LARGE_BYTES + 1], ids=["side by side", "one at a time"])
def test_processor_time_is_that_of_one_thread(
    weight_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, ticks = list[int | None](), count()

    def open_with(path: Path, options: RuntimeOptions) -> OnnxRuntime:
        threads.append(options.threads)
        return OnnxRuntime(path, options)

    monkeypatch.setattr(speed_module, "OnnxRuntime", open_with)
    monkeypatch.setattr(speed_module, "thread_time", lambda: next(ticks))
    short, long = chain(1, tmp_path / "short.onnx"), chain(12, tmp_path / "long.onnx")
    found = compare_speed(long, short, feeds, weight_bytes, processor_time=True)
    assert isinstance(found, Speed)
    assert found.speedup == 1  # by the clock, on which every call takes the same
    assert set(threads) == {1}


def test_an_original_that_cannot_be_run_is_a_reason_and_a_rewritten_model_an_error(tmp_path: Path) -> None:
    good, bad = chain(1, tmp_path / "good.onnx"), tmp_path / "bad.onnx"
    model = onnx.load(good)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, bad)
    assert "bad.onnx" in str(compare_speed(bad, good, feeds, 0))
    with pytest.raises(ArtifactError, match=r"bad\.onnx"):
        compare_speed(good, bad, feeds, 0)

    def refuse(signature: Signature) -> dict[str, np.ndarray]:
        raise UsageError(f"no input for {signature}")

    assert str(compare_speed(good, good, refuse, 0)).startswith("no input for")


def test_a_gain_within_the_noise_is_none() -> None:
    assert not Speed(1.01, 1.0, 1.02, 10, 9.9, 9).faster
    assert Speed(1.05, 0.99, 1.1, 10, 9.5, 9).faster
