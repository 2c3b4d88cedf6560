"""Weights in other files of the folder."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import small_models
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import ArtifactError
from exporter.formats import load_artifact
from exporter.onnx_io.all_outputs import with_all_outputs
from exporter.onnx_io.external_data import external_files
from exporter.onnx_io.precision import detect_precision

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


def test_external_files_are_those_that_the_model_names(tmp_path: Path) -> None:
    path = small_models.network(tmp_path / "s.onnx")
    assert external_files(path) == ()
    onnx.save(
        onnx.load(path), tmp_path / "m.onnx", save_as_external_data=True, location="anything.bin", size_threshold=0
    )
    assert external_files(tmp_path / "m.onnx") == (tmp_path / "anything.bin",)
    assert detect_precision(tmp_path / "m.onnx") == "float32"
    apart = onnx.load_from_string(with_all_outputs(tmp_path / "m.onnx", external=False))
    assert {entry.value for entry in apart.graph.initializer[0].external_data if entry.key == "location"} == {
        "anything.bin"
    }
    assert not onnx.load_from_string(with_all_outputs(tmp_path / "m.onnx")).graph.initializer[0].external_data


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "..", "a/b", "link", "gone", "", "a\0b"])
def test_weights_outside_the_models_folder_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    node = helper.make_node("Identity", ["w"], ["y"])
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", 1, [4])], [tensor])
    (tmp_path / "c3d.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ArtifactError, match="not a file of its own folder|not beside it"):
        load_artifact(tmp_path / "c3d.onnx")


@pytest.mark.parametrize("offset", ["-8", "zero", "", str(1 << 63), "9" * 5000, "٣"])
@pytest.mark.parametrize("key", ["offset", "length"])
def test_a_place_in_a_file_that_is_no_number_is_refused(key: str, offset: str, tmp_path: Path) -> None:
    model = onnx.load(small_models.network(tmp_path / "s.onnx"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == key).value = offset
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=f"its {key}, .*is no number of bytes") as refused:
        external_files(tmp_path / "m.onnx")
    assert len(str(refused.value)) < 300
