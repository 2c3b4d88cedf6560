"""ONNX files as an `onnx_ir.Model`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers import small_models
from helpers.graphs import graph, node
from onnx import helper

from exporter.errors import ArtifactError
from exporter.onnx_io.reader import read_model


@pytest.mark.parametrize("external", [False, True])
def test_weights_are_mapped_and_equal(external: bool, tmp_path: Path) -> None:
    source = onnx.load(small_models.network(tmp_path / "source.onnx"))
    onnx.save(source, tmp_path / "m.onnx", save_as_external_data=external, location="m.data", size_threshold=0)
    model = read_model(tmp_path / "m.onnx")
    mapped = {
        name for name, value in model.graph.initializers.items() if isinstance(value.const_value, ir.ExternalTensor)
    }
    assert mapped == {"w2", "w3"}, "tensors of fewer than 1024 bytes are read into memory"
    for name, expected in small_models.weights().items():
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        assert np.array_equal(tensor.numpy(), expected)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_to_a_file_is_followed(link: Callable[[Path, Path], None], tmp_path: Path) -> None:
    small_models.network(tmp_path / "m.onnx")
    link(tmp_path / "link.onnx", tmp_path / "m.onnx")
    found = read_model(tmp_path / "link.onnx").graph.initializers
    for name, expected in small_models.weights().items():
        tensor = found[name].const_value
        assert tensor is not None
        assert np.array_equal(tensor.numpy(), expected)


def test_truncated_external_data_is_rejected(tmp_path: Path) -> None:
    source = onnx.load(small_models.network(tmp_path / "source.onnx"))
    onnx.save(source, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    content = (tmp_path / "m.data").read_bytes()
    (tmp_path / "m.data").write_bytes(content[:-4])
    with pytest.raises(ArtifactError, match=r"m\.data does not hold them"):
        read_model(tmp_path / "m.onnx")


def test_the_shape_of_an_input_that_states_none_is_the_user_s(tmp_path: Path) -> None:
    made = graph([node("Relu", "x", "y")], {"x": None}, {"y": None}, {})
    onnx.save(made, path := tmp_path / "m.onnx")
    with pytest.raises(ArtifactError, match="its input x is not stated.*--shape x="):
        read_model(path)
    (value,) = read_model(path, {"x": (1, 3, 8)}).graph.inputs
    assert value.shape is not None
    assert list(value.shape)[1:] == [3, 8]


def test_a_size_below_zero_is_a_free_one_and_the_others_stay(tmp_path: Path) -> None:
    made = graph([node("Relu", "x", "y")], {"x": ("n", -1, 3)}, {"y": ("n", -1, 3)}, {})
    onnx.save(made, path := tmp_path / "m.onnx")
    read = read_model(path)
    for value in (*read.graph.inputs, *read.graph.outputs):
        assert value.shape is not None
        batch, free, fixed = value.shape
        assert isinstance(free, ir.SymbolicDim)
        assert (str(batch), free.value, fixed) == ("n", None, 3)


def test_a_size_that_a_file_states_wrongly_is_read_as_engines_read_it(tmp_path: Path) -> None:
    onnx.save(graph([node("Relu", "x", "y")], {"x": (4,)}, {"y": (5,)}, {}), path := tmp_path / "m.onnx")
    (value,) = read_model(path).graph.outputs
    assert value.shape == ir.Shape([5])


def test_a_graph_without_a_name_gets_one(tmp_path: Path) -> None:
    """Engines run such a model, and onnx's checker refuses it."""
    inner = helper.make_graph([node("Relu", "x", "a")], "", [], [helper.make_tensor_value_info("a", 1, ["n", 3])])
    branches = {"then_branch": inner, "else_branch": inner}
    chosen = helper.make_node("If", ["always"], ["y"], **branches)  # pyright: ignore[reportArgumentType] - graphs too
    model = graph([chosen], {"x": ("n", 3)}, {"y": ("n", 3)}, {"always": np.array(True)})
    model.graph.ClearField("name")
    onnx.save(model, path := tmp_path / "m.onnx")
    read = read_model(path)
    assert all(found.name for found in read.graphs())
    onnx.checker.check_model(ir.to_proto(read))
