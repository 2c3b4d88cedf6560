"""Where a file's own engine fails on an input, an artifact of it is not compared there; elsewhere it must not fail."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import parity
from helpers.graphs import graph, make_model, node
from onnx import TensorProto, helper

from exporter.errors import ArtifactError, CheckFailedError
from exporter.types import InputOptions

TYPES = ("random", "uniform", "nan")


def binarized(path: Path, threshold: float = 0.0) -> Path:
    """Write a model whose operator onnxruntime does not run on NaN."""
    nodes = [node("Binarizer", "x", "y", domain="ai.onnx.ml", threshold=threshold)]
    onnx.save(graph(nodes, {"x": (3, 5)}, {"y": (3, 5)}, {}), path)
    return path


def positive(path: Path) -> Path:
    """Write a model that equals `binarized` and runs on NaN."""
    nodes = [node("Greater", "x zero", "b"), node("Cast", "b", "y", to=TensorProto.FLOAT)]
    onnx.save(graph(nodes, {"x": (3, 5)}, {"y": (3, 5)}, {"zero": np.zeros(1, np.float32)}), path)
    return path


def test_an_input_on_which_the_file_fails_by_itself_is_left_out_and_named(tmp_path: Path) -> None:
    path = binarized(tmp_path / "m.onnx")
    report = parity.verify(path, path, input_types=TYPES)
    assert report.passed
    assert {row.input for row in report.comparisons} == {"random", "uniform"}
    assert any(note.startswith("fails on nan, as the reference does") for note in report.notes)


def test_another_threshold_fails_on_the_inputs_that_are_left(tmp_path: Path) -> None:
    report = parity.verify(
        binarized(tmp_path / "mine.onnx", 0.5), binarized(tmp_path / "theirs.onnx"), input_types=TYPES
    )
    assert not report.passed


def test_an_artifact_that_fails_where_the_reference_runs_fails(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="NaN"):
        parity.verify(binarized(tmp_path / "mine.onnx"), positive(tmp_path / "theirs.onnx"), input_types=TYPES)


def integer_convolution(path: Path, zero_points: int) -> Path:
    """Write a ConvInteger of uint8; onnxruntime takes one zero point of the weights, not one for every channel."""
    sizes: dict[str, Any] = {"x": (1, 1, 3, 3), "w": (2, 1, 2, 2), "a": (), "b": (zero_points,)}
    ports = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in sizes.items()]
    output = helper.make_tensor_value_info("y", TensorProto.INT32, [1, 2, 2, 2])
    onnx.save(make_model([node("ConvInteger", "x w a b", "y")], ports, [output], {}, 18), path)
    return path


def test_a_file_that_fails_on_every_value_of_its_dtypes_is_a_bad_file(tmp_path: Path) -> None:
    path = integer_convolution(tmp_path / "m.onnx", 2)
    with pytest.raises(ArtifactError, match=r"ConvInteger.*it fails like this on every input"):
        parity.check(path, InputOptions())
    runs = integer_convolution(tmp_path / "runs.onnx", 1)
    assert parity.check(runs).passed
