"""Faulty copies of a graph share its weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.tiny import save
from onnx import TensorProto

from exporter.fault_injection.graph import FaultyGraph
from exporter.fault_injection.split import split_model


def test_only_changed_weights_are_inside_a_faulty_file(tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    original = split_model(save(tmp_path / "tiny.onnx"), tmp_path / "split")
    faulty = FaultyGraph(original)
    faulty.set("fc6.weight", np.ones((8, 128), np.float32))
    model = onnx.load(faulty.write(), load_external_data=False)
    inside = {tensor.name for tensor in model.graph.initializer if tensor.data_location != TensorProto.EXTERNAL}
    assert "fc6.weight" in inside
    assert inside.isdisjoint({"conv1.weight", "conv2.weight"})
    with pytest.raises(ValueError, match=r"fc6.weight is \(8, 128\), not \(8,\)"):
        faulty.set("fc6.weight", np.ones(8))


def test_a_copy_does_not_change_the_original(tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    original = split_model(save(tmp_path / "tiny.onnx"), tmp_path / "split")
    before = original.model.SerializeToString()
    faulty = FaultyGraph(original)
    faulty.drop("conv1.relu.out")
    faulty.wrap("logits", lambda faulty, x: faulty.emit("Relu", x))
    faulty.weight(original.layers[0])[:] = 0
    assert original.model.SerializeToString() == before
    assert np.abs(original.weights["conv1.weight"]).max() > 0
    assert [node.op_type for node in faulty.graph.node].count("Relu") == 4
