"""ONNX models as checkpoints: initialisers, pool5 from the graph, data beside the file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.built import checkpoint, profile
from helpers.loaded import load_tensors
from helpers.small_files import SMALL, refuse
from onnx import TensorProto, helper, numpy_helper

from exporter.artifacts.files import read_manifest
from exporter.requests import ExportRequest, OptimizeRequest
from exporter.workflows.export import ExportResult, export
from exporter.workflows.optimize import optimize
from models import build
from models.builder import BuiltModel, state_sha256
from models.checkpoints.readers import read_file
from models.options import BuildOptions


def test_an_exported_network_is_a_checkpoint(narrow_artifacts: ExportResult, narrow: BuiltModel) -> None:
    again = build(BuildOptions(weights=narrow_artifacts.artifacts[0].path))
    assert (checkpoint(again).container, checkpoint(again).layout, again.setting_sources["pool5"]) == (
        "ONNX",
        "identity",
        "file",
    )
    assert (again.settings, state_sha256(again.network)) == (narrow.settings, state_sha256(narrow.network))


def test_an_optimised_network_keeps_its_weights_as_trained(rewritable: Path, tmp_path: Path) -> None:
    done = optimize(OptimizeRequest(rewritable, tmp_path / "fast.onnx", verify=False, measure=False))
    assert done.passes == ("winograd", "conv3d-as-conv2d", "cancel-transposes")
    again, before = build(BuildOptions(weights=done.path)), read_manifest(rewritable.with_name("c3d.onnx.json"))
    assert again.settings == before.network.settings
    assert state_sha256(again.network) == before.network.state_sha256


def test_a_network_with_its_preprocessing_inside_is_a_checkpoint(tmp_path: Path) -> None:
    options = BuildOptions(num_classes=5, base_channels=2, feature_dim=8, preprocess="mmaction2")
    request = ExportRequest(("onnx",), options, with_preprocess=True, verify=False, output_dir=tmp_path)
    again = build(BuildOptions(weights=export(request).artifacts[0].path))
    before = build(options)
    assert state_sha256(again.network) == state_sha256(before.network)
    assert (profile(again), again.settings, again.input) == ("mmaction2", before.settings, before.input)


@pytest.mark.parametrize(
    ("name", "dtype", "is_refused"), [("keep", bool, False), ("w", np.int8, True), ("w", np.uint8, True)]
)
def test_an_integer_weight_is_refused_and_a_graphs_argument_is_not_read(
    name: str, dtype: type, is_refused: bool, tmp_path: Path
) -> None:
    arrays: dict[str, Any] = {**SMALL, name: np.zeros(2, dtype)}
    tensors = [numpy_helper.from_array(array, key) for key, array in arrays.items()]
    info = [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", info[:1], info[1:], tensors)
    onnx.save(helper.make_model(graph), str(tmp_path / "g.onnx"))
    if is_refused:
        refuse(tmp_path / "g.onnx", f"w is {np.dtype(dtype).name}; weights must be floats")
    else:
        assert load_tensors(tmp_path / "g.onnx").keys() == SMALL.keys()


def test_a_model_without_a_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(onnx.ModelProto(ir_version=8, producer_name="pytorch").SerializeToString())
    refuse(tmp_path / "g.onnx", "not an ONNX model: it has no graph")


def model(path: Path, pool: dict[str, Any], **save: Any) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2, 2], strides=[2, 2, 2], **pool)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    weights = [numpy_helper.from_array(array, name) for name, array in SMALL.items()]
    shape = numpy_helper.from_array(np.array([1, 8192]), "a reshape's shape")
    graph = helper.make_graph([node], "g", info[:1], info[1:], [*weights, shape])
    onnx.save(helper.make_model(graph), str(path), **save)


@pytest.mark.parametrize(
    ("pool", "convention"),
    [
        ({"ceil_mode": 1}, "right"),
        ({"pads": [0, 0, 0, 0, 1, 1]}, "right"),
        ({"pads": [0, 1, 1, 0, 1, 1]}, "symmetric"),
        ({}, None),
    ],
)
def test_the_graph_tells_pool5(pool: dict[str, Any], convention: str | None, tmp_path: Path) -> None:
    model(tmp_path / "c3d.onnx", pool)
    raw = read_file(tmp_path / "c3d.onnx")
    assert raw.conventions.pool5 == convention
    assert load_tensors(raw).keys() == SMALL.keys()
    assert all(np.array_equal(load_tensors(raw)[name].numpy(), array) for name, array in SMALL.items())


def test_onnx_external_data_stays_in_its_folder(tmp_path: Path) -> None:
    model(tmp_path / "c3d.onnx", {}, save_as_external_data=True, location="weights.bin", size_threshold=0)
    raw = read_file(tmp_path / "c3d.onnx")
    assert all(np.array_equal(load_tensors(raw)[name].numpy(), array) for name, array in SMALL.items())
    assert raw.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    (tmp_path / "weights.bin").rename(tmp_path / "moved.bin")
    refuse(tmp_path / "c3d.onnx", "'weights.bin', which is not a file of its folder")
    (tmp_path / "weights.bin").symlink_to(tmp_path / "moved.bin")
    refuse(tmp_path / "c3d.onnx", "'weights.bin', which is not a file of its folder")
    content = (tmp_path / "c3d.onnx").read_bytes()
    (tmp_path / "c3d.onnx").write_bytes(content.replace(b"weights.bin", b"../../c.bin"))
    refuse(tmp_path / "c3d.onnx", "'../../c.bin', which is not a file of its folder")


@pytest.mark.parametrize("text", ["9" * 5000, "\u00b2", "-1", "1e3", "0x10"])
def test_an_offset_that_is_no_number_is_refused(text: str, tmp_path: Path) -> None:
    model(tmp_path / "c3d.onnx", {}, save_as_external_data=True, location="weights.bin", size_threshold=0)
    proto = onnx.load(str(tmp_path / "c3d.onnx"), load_external_data=False)
    next(entry for entry in proto.graph.initializer[0].external_data if entry.key == "offset").value = text
    (tmp_path / "c3d.onnx").write_bytes(proto.SerializeToString())
    refuse(tmp_path / "c3d.onnx", "has the offset or length '")
