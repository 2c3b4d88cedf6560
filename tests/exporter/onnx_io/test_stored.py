"""Where an ONNX file's weights are, read without the library onnx, against what the library makes of them."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import ArtifactError
from exporter.onnx_io.dtypes import dtype_name
from exporter.onnx_io.stored import DTYPES, read_stored_onnx
from exporter.stored_tensors import hash_tensors, tensor_sha256

VALUES = np.arange(6).reshape(2, 3)
ARRAYS = {
    "f": VALUES.astype(np.float32),
    "h": VALUES.astype(np.float16),
    "b": VALUES.astype(ml_dtypes.bfloat16),
    "f8": VALUES.astype(ml_dtypes.float8_e4m3fn),
    "i4": np.arange(-3, 2).astype(ml_dtypes.int4),
    "n": -VALUES,
    "t": VALUES > 2,
}


def save(path: Path, tensors: list[TensorProto]) -> Path:
    graph = helper.make_graph([helper.make_node("Identity", [tensors[0].name], ["y"])], "g", [], [], tensors)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_every_element_type_has_the_name_that_onnx_gives_it() -> None:
    assert {kind: name for kind, (name, _) in DTYPES.items()} == {
        kind: dtype_name(kind) for kind in TensorProto.DataType.values() if kind
    }


@pytest.mark.parametrize("name", ARRAYS)
def test_values_as_raw_bytes(name: str, tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(ARRAYS[name], name)
    stored = read_stored_onnx(save(tmp_path / "m.onnx", [tensor]))
    assert hash_tensors(stored.tensors or ()) == {
        name: tensor_sha256(dtype_name(tensor.data_type), ARRAYS[name].shape, tensor.raw_data)
    }


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "DOUBLE", "INT32", "INT8", "BOOL", "INT64", "UINT64", "UINT32"])
def test_values_in_a_field_of_their_type_have_the_same_hash(kind: str, tmp_path: Path) -> None:
    numbers = [1, 0, 5] if kind.startswith(("U", "B")) else [1, -2, 5]
    typed = helper.make_tensor("w", TensorProto.DataType.Value(kind), [3], numbers)
    assert not typed.raw_data
    raw = numpy_helper.from_array(numpy_helper.to_array(typed), "w")
    found = [
        hash_tensors(read_stored_onnx(save(tmp_path / "m.onnx", [tensor])).tensors or ()) for tensor in (typed, raw)
    ]
    assert found[0] == found[1]


def test_values_in_a_file_of_their_own(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.arange(9, dtype=np.float32), "w")
    whole = read_stored_onnx(save(tmp_path / "whole.onnx", [tensor]))
    model = onnx.load(tmp_path / "whole.onnx")
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    apart = read_stored_onnx(tmp_path / "m.onnx")
    assert (apart.data, whole.data) == (("m.data",), ())
    assert hash_tensors(apart.tensors or ()) == hash_tensors(whole.tensors or ())
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(ArtifactError, match=r"m.data: ends before the values of w do"):
        hash_tensors(apart.tensors or ())


@pytest.mark.parametrize("content", [b"", b"no model", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a complete ONNX file"):
        read_stored_onnx(tmp_path / "m.onnx")
